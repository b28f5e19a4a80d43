//! Tests of the engine in virtual time: against itself, against a small model of the reference, and
//! against unknown and hostile peers.

mod address_validation;
mod admission;
mod advertise;
mod blocks;
mod bounds;
mod forged;
mod idle;
mod index;
mod meeting;
mod net;
mod objects;
mod reach;
mod reads;
mod reference;
mod replay;
mod scripted;
mod silent;
mod slow;
mod solicited;
mod streams;
mod tables;
mod unknown_peer;
mod votes;
