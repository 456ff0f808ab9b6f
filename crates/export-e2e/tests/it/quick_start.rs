//! The quick start of docs/api.md does what the page says.

use std::fs;

use export_e2e::Stack;
use export_testkit::oddities::one_day;

use crate::recipes::run_block;

const PAGE: &str = include_str!("../../../../docs/api.md");

/// The only block of shell commands under the heading.
fn block() -> &'static str {
    let (_, section) = PAGE.split_once("## Quick start").expect("a quick start");
    let (section, _) = section.split_once("\n## ").expect("another section after it");
    let mut blocks = section.split("```sh\n").skip(1).map(|rest| rest.split_once("```").expect("its end").0);
    let block = blocks.next().expect("a block");
    assert_eq!(blocks.next(), None);
    block
}

/// As a user does who copies the block: once more, it finds the same export by its key.
#[tokio::test(flavor = "multi_thread")]
async fn three_requests_create_wait_and_download() {
    let stack = Stack::start().await;
    stack.space.insert_fleet(&one_day()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (path, url) = (folder.path().to_owned(), stack.api_url.clone());
        let run = tokio::task::spawn_blocking(move || run_block("sh", block(), &path, &url));
        assert_eq!(run.await.expect("it runs"), "export.zip: OK\n");
        let job = fs::read(folder.path().join("job.json")).expect("the job");
        let job: serde_json::Value = serde_json::from_slice(&job).expect("JSON");
        ids.push(job["_id"].as_str().expect("an id").to_owned());
        let file = fs::read(folder.path().join("export.zip")).expect("the file");
        zip::ZipArchive::new(std::io::Cursor::new(file))
            .expect("a zip")
            .by_name("manifest.json")
            .expect("it");
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(block().matches("\ncurl ").count() + block().matches("  curl ").count(), 3, "three requests");
    stack.stop().await;
}
