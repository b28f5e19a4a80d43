#![no_main]
astreum_fuzz::target!(trie);
