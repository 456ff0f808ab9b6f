//! Clients that generators write from the served description compile and work: create, wait,
//! download. The generated code is used as it is; the programs in `generated_clients` are those of a
//! user.
//!
//! The generators are called as docs/api.md says. `cargo xtask` installs them and the compilers.

use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use export_core::access::Scope;
use export_e2e::Stack;
use export_testkit::oddities::one_day;

use crate::callers::{Caller, api_with_keys};

const PAGE: &str = include_str!("../../../../docs/api.md");
/// How long a generator or a compiler may take.
const PATIENCE_SECONDS: &str = "600";
const PYTHON: &str = include_str!("generated_clients/main.py");
const TYPESCRIPT: &str = include_str!("generated_clients/main.ts");
const GO: &str = include_str!("generated_clients/main.go");
/// The user's module, which has no other dependency than the generated one.
const GO_MOD: &str = "module example.com/user\n\ngo 1.23\n\nrequire github.com/example/exports v0.0.0\n\n\
                      replace github.com/example/exports => ./client\n";
/// The strictest settings of the compiler; the user's program needs `fetch` and no other library.
const TSCONFIG: &str = r#"{ "compilerOptions": { "strict": true, "noEmitOnError": true, "target": "es2022",
    "module": "commonjs", "lib": ["es2022", "dom", "dom.iterable"], "types": [], "outDir": "out" }, "files": ["main.ts"] }"#;

fn variable(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    value.unwrap_or_else(|| panic!("{name} is not set: run the tests with `cargo xtask test`")).into()
}

/// The command of docs/api.md that runs this generator for a language.
fn documented_command(language: &str) -> &'static str {
    let (_, section) = PAGE.split_once("### Generated clients").expect("a section about clients");
    let (_, block) = section.split_once("```sh\n").expect("a block of commands");
    let (block, _) = block.split_once("```").expect("its end");
    let command = block.split("\n\n").find(|command| command.starts_with(&format!("# {language}")));
    command.unwrap_or_else(|| panic!("no command for {language}"))
}

/// A user's folder, with the description that the service serves.
struct User {
    folder: tempfile::TempDir,
    url: String,
    key: String,
}

impl User {
    async fn of(stack: &Stack) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let description = stack.get("/openapi.json").await.body;
        fs::write(folder.path().join("openapi.json"), description).expect("a file");
        let caller = Caller::of(stack, "acme", &[Scope::Read, Scope::Write]).await;
        Self { folder, url: stack.api_url.clone(), key: caller.key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Runs a program in the folder; returns its standard output. Panics when it fails.
    fn run(&self, program: &Path, arguments: &[&str]) -> Vec<u8> {
        let generators = variable("TEST_GENERATORS_DIR");
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = [generators.join("bin")].into_iter().chain(std::env::split_paths(&inherited));
        let path: OsString = std::env::join_paths(path).expect("a PATH");
        let ended = Command::new("timeout")
            .arg(PATIENCE_SECONDS)
            .arg(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("NO_PROXY", "127.0.0.1")
            .env("EXPORTS_API_URL", &self.url)
            .env("EXPORTS_API_KEY", &self.key)
            // Go: no network, and its standard library is compiled once for all runs.
            .envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod"), ("GOWORK", "off")])
            .env("GOCACHE", generators.join("go-cache"))
            .env("GOPATH", self.path("go"))
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            ended.status.success(),
            "{} {arguments:?}: {}\n{}\n{}",
            program.display(),
            ended.status,
            text(&ended.stdout[..ended.stdout.len().min(4_000)]),
            text(&ended.stderr)
        );
        ended.stdout
    }

    fn generate(&self, language: &str) {
        self.run(Path::new("sh"), &["-euc", documented_command(language)]);
    }
}

/// Lets a user work on a service with vehicles and a worker; its last program must print the zip.
async fn downloads_the_zip(work: fn(&User) -> Vec<u8>) {
    let mut stack = api_with_keys(std::time::Duration::from_secs(10)).await;
    stack.start_worker().await;
    stack.space.insert_fleet(&one_day()).await;
    let user = User::of(&stack).await;
    let file = tokio::task::spawn_blocking(move || work(&user)).await.expect("it works");
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).expect("a zip");
    assert!(zip.by_name("manifest.json").is_ok());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_creates_waits_and_downloads() {
    downloads_the_zip(|user| {
        user.generate("Python");
        user.write("main.py", PYTHON);
        let python = variable("TEST_GENERATORS_DIR").join("bin/python");
        user.run(&python, &["-m", "compileall", "-q", "exports_client"]);
        user.run(&python, &["main.py"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_creates_waits_and_downloads() {
    downloads_the_zip(|user| {
        user.generate("TypeScript");
        user.write("main.ts", TYPESCRIPT);
        user.write("tsconfig.json", TSCONFIG);
        let (node, compiler) = (variable("TEST_NODE_PROGRAM"), variable("TEST_TYPESCRIPT_PROGRAM"));
        user.run(&node, &[compiler.to_str().expect("UTF-8"), "--project", "."]);
        user.run(&node, &["out/main.js"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_client_creates_waits_and_downloads() {
    downloads_the_zip(|user| {
        user.generate("Go");
        user.write("main.go", GO);
        user.write("go.mod", GO_MOD);
        let go = variable("TEST_GENERATORS_DIR").join("bin/go");
        user.run(&go, &["vet", "."]);
        user.run(&go, &["run", "."])
    })
    .await;
}
