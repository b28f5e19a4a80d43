//! Report of the cost of filling 10 GiB of disk in a default genesis, for every known method.

use astreum_core::chain::{Address, Genesis};
use astreum_core::integer::Natural;
use astreum_tests::economics::{Epoch, Size, YEAR_BLOCKS, ways};

fn main() {
    let genesis = Genesis::new(
        Address::new([9; 32]),
        Natural::ZERO,
        1_700_000_000_u64.into(),
    );
    let size = Size::LARGE;
    println!(
        "{} accounts; a full block has {} transactions\n",
        size.accounts, size.per_block
    );
    println!(
        "| a transaction | a block | atoms | bytes | cost at 1 | to fill | % | cost after a year | \
         to fill | % |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let nothing = Natural::ZERO;
    let epochs = [1, YEAR_BLOCKS].map(|blocks| Epoch::of(&genesis, blocks, &nothing));
    for way in ways(size) {
        let mut row = format!(
            "| {} | {} | {} | {} |",
            way.name, way.per_block, way.atoms, way.pair_bytes
        );
        for epoch in &epochs {
            let filling = epoch.filling(&way);
            row.push_str(&format!(
                " {} | {} | {:.0} |",
                epoch.cost(way.billed_bytes),
                filling,
                epoch.share_ppm(&filling) as f64 / 10_000.0
            ));
        }
        println!("{row}");
    }
    println!("\nsupply {}", epochs[0].supply());
}
