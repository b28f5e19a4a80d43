#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| astreum_tests::target::producer::run(data));
