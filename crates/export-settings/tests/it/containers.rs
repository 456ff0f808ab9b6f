//! docker-compose.yml gives each container every setting, and no secret that is not its own.

use std::fs;
use std::path::Path;

use crate::reference::{ENV_EXAMPLE_BEGIN, settings};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).expect(name)
}

#[test]
fn e8_the_programs_get_every_setting() {
    let compose = read("docker-compose.yml");
    for service in ["provision", "api", "worker"] {
        let (_, definition) = compose.split_once(&format!("\n  {service}:\n")).expect(service);
        let definition = definition.split("\n\n").next().expect(service);
        let gets_all = "    env_file: *settings-file\n";
        let and_no_secrets = "    environment:\n      <<: *settings\n";
        assert!(definition.contains(gets_all) && definition.contains(and_no_secrets), "{service}");
    }
    assert!(compose.contains("x-settings: &settings\n  <<: *no-secrets\n"));
}

#[test]
fn a_secret_is_blank_unless_a_service_names_it() {
    let compose = read("docker-compose.yml");
    let (_, blank) = compose.split_once("x-no-secrets: &no-secrets\n").expect("the secrets");
    let (blank, _) = blank.split_once("\n\n").expect("their end");
    let example = read(".env.example");
    let (of_containers, _) = example.split_once(ENV_EXAMPLE_BEGIN).expect("a part about containers");
    let of_containers = of_containers.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let passwords: Vec<&str> =
        of_containers.filter(|name| name.contains("PASSWORD") || name.contains("SECRET")).collect();
    assert!(passwords.contains(&"MONGODB_ROOT_PASSWORD"), "{passwords:?}");
    let secrets = settings().into_iter().filter(|setting| setting.is_secret).map(|setting| setting.name);
    let with_files = secrets.flat_map(|name| [format!("{name}_FILE"), name]);
    for name in passwords.into_iter().map(str::to_owned).chain(with_files) {
        assert!(blank.lines().any(|line| line == format!("  {name}: \"\"")), "{name} is not blank");
    }
}
