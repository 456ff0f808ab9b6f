//! The files for containers agree with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).expect(name)
}

/// Names in `${NAME...}`; `$$` is a dollar sign for the shell in the container.
fn interpolated(compose: &str) -> BTreeSet<String> {
    let text = compose.replace("$$", "");
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split("${").skip(1).map(|rest| rest.chars().take_while(|&c| is_name(c)).collect()).collect()
}

#[test]
fn e8_every_variable_of_the_compose_file_is_in_the_example() {
    let example = read(".env.example");
    let is_listed = |name: &str| {
        example.lines().any(|line| {
            line.trim_start_matches("# ").strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
        })
    };
    let names = interpolated(&read("docker-compose.yml"));
    assert!(names.contains("MONGODB_ROOT_PASSWORD"), "{names:?}");
    // The name of the file itself, which `cargo xtask up` sets.
    let is_file = |name: &str| name == "SETTINGS_FILE";
    let missing: Vec<&String> = names.iter().filter(|name| !is_listed(name) && !is_file(name)).collect();
    assert!(missing.is_empty(), "not in .env.example: {missing:?}");
}

#[test]
fn the_example_sets_what_compose_insists_on() {
    let example = read(".env.example");
    let compose = read("docker-compose.yml");
    let insisted = compose.split("${").skip(1).filter_map(|rest| rest.split('}').next()?.split_once(":?"));
    for (name, _) in insisted {
        assert!(example.lines().any(|line| line.starts_with(&format!("{name}="))), "{name}");
    }
}

#[test]
fn both_images_share_their_build_layers() {
    let build_stages = |name: &str| {
        let text = read(name);
        let (stages, _) = text.split_once("FROM ${RUNTIME_IMAGE}").unwrap();
        stages.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(build_stages("Dockerfile.api"), build_stages("Dockerfile.worker"));
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { files.extend(files_below(&entry)) } else { files.push(entry) }
    }
    files
}

/// Runs the command of the stage `skeleton` on a copy of the sources: what is left must be a
/// workspace with all targets of the images, and with nothing that an edit of a source changes.
#[test]
fn e14_the_skeleton_of_the_image_is_a_workspace_of_empty_programs() {
    let dockerfile = read("Dockerfile.api").replace("\\\n", "");
    let (_, stage) = dockerfile.split_once(" AS skeleton\n").expect("a stage");
    let (_, run) = stage.split_once("\nRUN ").expect("a command");
    let run = run.lines().next().expect("a command");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skeleton");
    fs::remove_dir_all(&copy).ok();
    fs::create_dir_all(&copy).expect("a folder");
    let sources = ["crates", "xtask", "Cargo.toml", "Cargo.lock"];
    let copied = Command::new("cp").arg("-r").args(sources.map(|name| root.join(name))).arg(&copy).status();
    assert!(copied.expect("cp").success());
    let ended = Command::new("sh").args(["-ec", run]).current_dir(&copy).output().expect("sh");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let left = [files_below(&copy.join("crates")), files_below(&copy.join("xtask"))].concat();
    for file in left.iter().filter(|file| !file.ends_with("Cargo.toml")) {
        assert_eq!(fs::read_to_string(file).expect("text"), "fn main() { }\n", "{}", file.display());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = ["metadata", "--offline", "--locked", "--no-deps", "--format-version=1"];
    let metadata = Command::new(cargo).args(metadata).current_dir(&copy).output().expect("cargo");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata = String::from_utf8_lossy(&metadata.stdout);
    for program in ["exports-api", "exports-worker", "exports"] {
        assert!(metadata.contains(&format!(r#""name":"{program}""#)), "{program}");
    }
    fs::remove_dir_all(&copy).expect("removed");
}

#[test]
fn e14_programs_of_images_are_stripped_and_no_tool_is_compiled_for_them() {
    for name in ["Dockerfile.api", "Dockerfile.worker"] {
        let dockerfile = read(name);
        assert!(dockerfile.contains("CARGO_PROFILE_RELEASE_STRIP=symbols"), "{name}");
        assert!(!dockerfile.contains("cargo install"), "{name}");
    }
}

/// Each service with its lines.
fn services(compose: &str) -> Vec<(&str, &str)> {
    let (_, rest) = compose.split_once("\nservices:\n").expect("services");
    let (services, _) = rest.split_once("\nnetworks:\n").expect("networks");
    let is_name = |line: &str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
    let mut starts: Vec<usize> = services
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .filter(|at| services[*at..].lines().next().is_some_and(is_name))
        .collect();
    starts.insert(0, 0);
    starts.push(services.len());
    starts.windows(2).map(|pair| services[pair[0]..pair[1]].split_once(":\n").expect("a name")).collect()
}

#[test]
fn e7_every_container_is_confined() {
    let compose = read("docker-compose.yml");
    let anchor = |name: &str| {
        let (_, rest) = compose.split_once(&format!("&{name}\n")).unwrap();
        rest.split("\n\n").next().unwrap()
    };
    let of_all = [
        "cap_drop: [\"ALL\"]",
        "no-new-privileges:true",
        "pids_limit:",
        "mem_limit:",
        "max-size:",
        "read_only: true",
    ];
    for key in of_all {
        assert!(anchor("confined").contains(key), "{key}");
    }
    for key in ["<<: *confined", "pull_policy: never"] {
        assert!(anchor("program").contains(key), "{key}");
    }
    let services = services(&compose);
    let names: Vec<&str> = services.iter().map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["mongodb", "rabbitmq", "s3", "provision", "exports", "api", "worker"]);
    for (name, definition) in services {
        let is_ours = !["mongodb", "rabbitmq", "s3"].contains(&name.trim());
        let anchor = if is_ours { "    <<: *program\n" } else { "    <<: *confined\n" };
        assert!(definition.contains(anchor), "{name}");
        assert!(!definition.contains("read_only: false"), "{name}");
        assert!(!definition.contains("cap_add") && !definition.contains("privileged"), "{name}");
    }
}

#[test]
fn e3_provisioning_is_not_repeated_for_ever() {
    let compose = read("docker-compose.yml");
    let services = services(&compose);
    let (_, provision) = services.iter().find(|(name, _)| name.trim() == "provision").unwrap();
    assert!(provision.contains("restart: \"on-failure:3\""), "{provision}");
}

#[test]
fn e6_health_checks_start_no_client_program() {
    let compose = read("docker-compose.yml");
    let checks: Vec<&str> = compose.lines().filter(|line| line.trim().starts_with("test: ")).collect();
    assert_eq!(checks.len(), 3, "{checks:?}");
    for check in checks {
        assert!(
            ["mongosh", "rabbitmq-diagnostics", "rabbitmqctl"].iter().all(|slow| !check.contains(slow)),
            "{check}"
        );
    }
    assert!(!compose.contains("interval: 5s"));
}

#[test]
fn e12_a_missing_setting_says_where_it_belongs() {
    let compose = read("docker-compose.yml");
    let needed: Vec<(&str, &str)> =
        compose.split("${").skip(1).filter_map(|rest| rest.split('}').next()?.split_once(":?")).collect();
    assert!(needed.len() > 10, "{needed:?}");
    for (name, reason) in needed {
        // Compose 1.29 does not say the name by itself.
        assert_eq!(reason, format!("add {name} to .env, see .env.example"));
    }
}
