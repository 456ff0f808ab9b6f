//! Any bytes as documents; see the library.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    if export_fuzz::exports_alike(data) { Corpus::Keep } else { Corpus::Reject }
});
