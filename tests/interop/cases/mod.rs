//! Cases of the live suite, by subject.

mod advertisements;
mod chain_followed;
mod chain_following;
mod chain_transactions;
mod chain_verified;
mod cold;
mod differential;
mod differential_wire;
mod driver;
mod handshakes;
mod misses;
mod objects;
mod routes;

use crate::suite::Case;

/// Lists functions as cases under `subject.function`.
macro_rules! cases {
    ($subject:ident: $($name:ident),+ $(,)?) => {
        &[$(Case { name: concat!(stringify!($subject), ".", stringify!($name)), run: $subject::$name }),+]
    };
}

/// Returns every case, the slow ones first.
pub(crate) fn all() -> Vec<Case> {
    let subjects: &[&[Case]] = &[
        cases!(chain_verified: reference_verifier_adopts_all_blocks_that_it_can_check),
        cases!(differential_wire: datagrams),
        cases!(differential: expressions_of_all_kinds, tokens, expressions, printed_expressions, atoms, messages, signatures, routes, stack_programs),
        cases!(handshakes:
            reference_restarts_with_its_key,
            another_key_takes_over_an_address,
            we_restart_with_another_key,
            idle_reference_stays_past_its_timeout,
            we_connect,
            reference_connects,
            ping_carries_its_fields,
            ping_of_the_reference_is_read,
        ),
        cases!(advertisements:
            our_advertisement_is_repeated_until_it_expires,
            advertisement_of_the_reference_is_indexed,
        ),
        cases!(chain_followed:
            reference_adopts_our_heads_and_accepts_our_headers,
            reference_reads_our_accounts_and_receipts,
        ),
        cases!(chain_following:
            reference_validator_is_followed_as_trusted_and_reported,
            chain_of_a_reference_validator_cannot_be_verified,
            chain_that_a_reference_serves_is_verified,
        ),
        cases!(chain_transactions:
            transaction_of_the_reference_is_included_in_our_block,
            send_function_of_the_reference_fails,
        ),
        cases!(chain_verified:
            reference_verifier_rejects_an_honest_block_without_the_lost_trie_nodes,
            reference_verifier_rejects_a_block_that_claims_the_reward,
            reference_verifier_cannot_open_the_first_channel_of_an_account,
        ),
        cases!(misses: we_send_requests_to_two_references, reference_sends_requests_to_two_of_us),
        cases!(objects:
            value_put_here_is_fetched_there,
            value_put_there_is_fetched_here,
            list_put_here_is_fetched_there,
            list_put_there_is_fetched_here,
            list_too_long_for_a_datagram_is_fetched,
            largest_atom_is_fetched_in_both_directions,
            we_redirect_to_a_reference_that_is_a_provider,
            reference_redirects_us_to_a_provider,
            unknown_reference_fetches_from_us_as_the_provider,
            source_text_round_trips_as_an_expression,
        ),
        cases!(cold:
            reference_serves_atoms_that_we_wrote,
            reference_serves_atoms_that_we_exported,
            we_serve_atoms_that_a_reference_wrote,
        ),
        cases!(routes: reference_learns_peers_from_us, we_learn_peers_from_the_reference),
        cases!(driver: two_references_meet_and_exchange_an_expression),
    ];
    subjects
        .iter()
        .flat_map(|cases| cases.iter())
        .copied()
        .collect()
}
