"""A user's program on the generated Python client: create, wait, download. Writes the file to standard output."""

import hashlib
import os
import sys
import urllib.request
from uuid import uuid4

import httpx
from exports_client import AuthenticatedClient
from exports_client.api.exports import create_export, get_export
from exports_client.models import ExportRequest, Job, JobState, Problem

client = AuthenticatedClient(
    base_url=os.environ["EXPORTS_API_URL"], token=os.environ["EXPORTS_API_KEY"], timeout=httpx.Timeout(60)
)
request = ExportRequest(start_date="2018-11-30", end_date="2018-12-01")
job = create_export.sync(client=client, body=request, idempotency_key=str(uuid4()), prefer="wait=50")
while isinstance(job, Job) and job.state in (JobState.NOT_STARTED, JobState.STARTED):
    job = get_export.sync(job.field_id, client=client, prefer="wait=50")
assert isinstance(job, Job) and job.state == JobState.FINISHED, job
assert job.finished_at >= job.created_at, "times are times"

# The link needs no key, and must not get it: a plain request, not one of the client.
with urllib.request.urlopen(job.download_url) as answer:
    file = answer.read()
assert hashlib.sha256(file).hexdigest() == job.stats.sha256

problem = get_export.sync(uuid4(), client=client)
assert isinstance(problem, Problem) and problem.status == 404 and problem.request_id, problem
sys.stdout.buffer.write(file)
