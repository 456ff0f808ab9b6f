// A user's program on the generated Go client: create, wait, download. Writes the file to standard output.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"os"

	exports "github.com/example/exports"
)

func main() {
	configuration := exports.NewConfiguration()
	configuration.Servers = exports.ServerConfigurations{{URL: os.Getenv("EXPORTS_API_URL")}}
	api := exports.NewAPIClient(configuration).ExportsAPI
	caller := context.WithValue(context.Background(), exports.ContextAccessToken, os.Getenv("EXPORTS_API_KEY"))

	request := exports.NewExportRequest("2018-12-01", "2018-11-30")
	job, _, err := api.CreateExport(caller).ExportRequest(*request).IdempotencyKey("go-1").Prefer("wait=50").Execute()
	for err == nil && (job.State == exports.JOBSTATE_NOT_STARTED || job.State == exports.JOBSTATE_STARTED) {
		job, _, err = api.GetExport(caller, job.Id).Prefer("wait=50").Execute()
	}
	if err != nil || job.State != exports.JOBSTATE_FINISHED || job.FinishedAt.Get().Before(job.CreatedAt) {
		log.Fatal("the export has not finished: ", job, err)
	}

	// The link needs no key, and must not get it: a plain request, not one of the client.
	answer, err := http.Get(*job.DownloadUrl.Get())
	if err != nil {
		log.Fatal(err)
	}
	file, err := io.ReadAll(answer.Body)
	hash := sha256.Sum256(file)
	if err != nil || hex.EncodeToString(hash[:]) != job.Stats.Get().Sha256 {
		log.Fatal("the file is not that of the export: ", err)
	}

	_, _, err = api.GetExport(caller, "01983c5e-7a01-7c3a-9d5e-0123456789ab").Execute()
	var failure *exports.GenericOpenAPIError
	if !errors.As(err, &failure) {
		log.Fatal("no error for a job that does not exist: ", err)
	}
	problem, isProblem := failure.Model().(exports.Problem)
	if !isProblem || problem.Status != 404 || problem.RequestId == "" {
		log.Fatal("no problem for a job that does not exist: ", failure)
	}
	os.Stdout.Write(file)
}
