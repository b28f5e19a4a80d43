//! Tests of the allocator that counts live bytes by owner.

use astreum_tests::heap::{self, Owned, Part};

#[global_allocator]
static ALLOCATOR: Owned = Owned;

/// Size of the test allocations, in bytes: larger than all other allocations in a scope.
const BYTES: usize = 1 << 20;

#[repr(align(256))]
struct Aligned([u8; BYTES]);

#[test]
fn memory_counts_for_its_owner_until_it_is_freed_anywhere() {
    let live = || heap::live_bytes(3, Part::Chain);
    assert_eq!(live(), 0);
    let scope = heap::enter(3, Part::Chain);
    let mut bytes = vec![7_u8; BYTES];
    let simulation = {
        let _outside = heap::leave();
        vec![8_u8; BYTES]
    };
    let aligned = Box::new(Aligned([9; BYTES]));
    drop(scope);
    assert_eq!(live(), 2 * BYTES as u64);
    assert!(core::ptr::from_ref(&*aligned).addr().is_multiple_of(256));
    assert!(aligned.0.iter().all(|byte| *byte == 9));
    drop(aligned);
    assert_eq!(live(), BYTES as u64);
    // An allocation that grows counts for the owner in whose scope it grows.
    bytes.extend_from_slice(&simulation);
    assert_eq!(live(), 0);
    assert_eq!((bytes.first(), bytes.last()), (Some(&7), Some(&8)));
    let moved = std::thread::spawn(|| {
        let _scope = heap::enter(4, Part::Store);
        vec![1_u8; BYTES]
    });
    let moved = moved.join();
    assert_eq!(heap::live_bytes(4, Part::Store), BYTES as u64);
    drop(moved);
    assert_eq!(heap::live_bytes(4, Part::Store), 0);
}

#[test]
fn nodes_beyond_the_owners_count_for_the_simulation() {
    let _scope = heap::enter(10_000, Part::Engine);
    let bytes = vec![1_u8; BYTES];
    assert!(heap::live_bytes(10_000, Part::Engine) >= bytes.len() as u64);
    assert_eq!(heap::live_bytes(20, Part::Store), 0);
}
