//! The fuzz target is compiled and plays its seeds, so that it stays usable.

use std::fs;
use std::path::Path;

// Of another crate, so that it is no module for `cargo xtask layers`.
#[cfg(test)]
#[path = "../../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the library of another crate")]
mod documents;

#[test]
fn the_fuzz_target_exports_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let seeds: Vec<_> =
        fs::read_dir(seeds).expect("the seeds").map(|seed| seed.expect("a seed").path()).collect();
    assert!(seeds.len() > 10, "{seeds:?}");
    for seed in seeds {
        assert!(documents::exports_alike(&fs::read(&seed).expect("a seed")), "{}", seed.display());
    }
}
