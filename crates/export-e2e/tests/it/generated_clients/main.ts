// A user's program on the generated TypeScript client: create, wait, download. Writes the file to standard output.

import { Configuration, ExportsApi, JobState, ProblemFromJSON, ResponseError } from "./client";

declare const process: { env: Record<string, string>; exitCode: number; stdout: { write(bytes: Uint8Array): void } };

function check(isTrue: boolean, what: unknown): void {
    if (!isTrue) throw new Error(JSON.stringify(what));
}

async function main(): Promise<void> {
    const { EXPORTS_API_URL: basePath, EXPORTS_API_KEY: accessToken } = process.env;
    const api = new ExportsApi(new Configuration({ basePath, accessToken }));
    const exportRequest = { startDate: "2018-11-30", endDate: "2018-12-01" };
    let job = await api.createExport({ exportRequest, idempotencyKey: crypto.randomUUID(), prefer: "wait=50" });
    while (job.state === JobState.NotStarted || job.state === JobState.Started) {
        job = await api.getExport({ id: job.id, prefer: "wait=50" });
    }
    check(job.state === JobState.Finished && job.downloadUrl !== null && job.stats !== null, job);
    check(job.finishedAt! >= job.createdAt, "times are times");

    // The link needs no key, and must not get it: a plain request, not one of the client.
    const file = new Uint8Array(await (await fetch(job.downloadUrl!)).arrayBuffer());
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", file));
    check(Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") === job.stats!.sha256, "the hash");

    try {
        await api.getExport({ id: crypto.randomUUID() });
        check(false, "a job that does not exist");
    } catch (error) {
        if (!(error instanceof ResponseError)) throw error;
        const problem = ProblemFromJSON(await error.response.json());
        check(problem.status === 404 && problem.requestId === error.response.headers.get("x-request-id"), problem);
    }
    process.stdout.write(file);
}

main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
