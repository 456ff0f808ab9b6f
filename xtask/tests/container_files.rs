//! The files for containers agree with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
fn every_variable_of_the_compose_file_is_in_the_example() {
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
