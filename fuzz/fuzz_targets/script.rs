#![no_main]
astreum_fuzz::target!(script);
