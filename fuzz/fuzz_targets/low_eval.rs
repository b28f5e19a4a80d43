#![no_main]
astreum_fuzz::target!(low_eval);
