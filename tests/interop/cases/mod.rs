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
        cases!(chain_verified: the_references_verifier_adopts_all_that_it_can_check),
        cases!(differential_wire: datagrams),
        cases!(differential: expressions_of_all_kinds, tokens, expressions, printed_expressions, atoms, messages, signatures, routes, stack_programs),
        cases!(handshakes:
            the_reference_restarts_with_its_key,
            another_key_takes_over_an_address,
            we_restart_with_another_key,
            an_idle_reference_stays_past_its_timeout,
            we_connect,
            the_reference_connects,
            a_ping_carries_its_fields,
            the_references_ping_is_read,
        ),
        cases!(advertisements: ours_is_repeated_until_it_expires, the_references_is_indexed),
        cases!(chain_followed:
            the_reference_adopts_our_heads_and_accepts_our_headers,
            the_reference_reads_our_accounts_and_receipts,
        ),
        cases!(chain_following:
            we_trust_a_reference_validator_and_say_so,
            nobody_can_verify_a_reference_validators_chain,
            we_verify_a_chain_that_a_reference_serves,
        ),
        cases!(chain_transactions:
            a_transaction_of_the_reference_lands_in_our_block,
            the_references_own_way_to_send_fails,
        ),
        cases!(chain_verified:
            without_the_lost_nodes_its_verifier_condemns_an_honest_block,
            its_verifier_refuses_a_block_that_claims_the_reward,
            its_verifier_cannot_open_the_first_channel_of_an_account,
        ),
        cases!(misses: we_ask_two_references, the_reference_asks_two_of_us),
        cases!(objects:
            a_value_is_put_here_and_got_there,
            a_value_is_put_there_and_got_here,
            a_list_is_put_here_and_got_there,
            a_list_is_put_there_and_got_here,
            a_list_that_no_datagram_holds,
            the_largest_atom_travels_both_ways,
            we_redirect_to_a_reference_that_provides,
            a_reference_redirects_us_to_one_that_provides,
            a_stranger_asks_us_as_the_provider,
            source_text_becomes_an_expression_there_and_comes_back,
        ),
        cases!(cold:
            a_reference_serves_what_we_wrote,
            a_reference_serves_what_we_exported,
            we_serve_what_a_reference_wrote,
        ),
        cases!(routes: the_reference_learns_peers_from_us, we_learn_peers_from_the_reference),
        cases!(driver: two_references_meet_and_exchange_an_expression),
    ];
    subjects
        .iter()
        .flat_map(|cases| cases.iter())
        .copied()
        .collect()
}
