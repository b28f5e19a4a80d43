/* An evaluation that needs atoms which the machine does not have: first supplied when it is
 * suspended, then by a callback. */

#include "check.h"

#define ATOMS 3

/* Remote store: the stored form of the atoms of a list of three values, by id. */
struct remote {
    uint8_t ids[ATOMS][32];
    uint8_t stored[ATOMS][34];
    int fetches;
};

static const uint8_t *fetch(struct remote *remote, const uint8_t *id)
{
    for (int i = 0; i < ATOMS; i++) {
        if (memcmp(remote->ids[i], id, 32) == 0) {
            remote->fetches++;
            return remote->stored[i];
        }
    }
    return NULL;
}

/* Fills the store, from the last atom of the list to the first. */
static void fill(struct remote *remote)
{
    static const uint8_t end[32] = {0};
    for (int i = ATOMS - 1; i >= 0; i--) {
        const uint8_t *next = i + 1 < ATOMS ? remote->ids[i + 1] : end;
        memcpy(remote->stored[i], next, 32);
        remote->stored[i][32] = 1; /* bytes */
        remote->stored[i][33] = (uint8_t)('a' + i);
        CHECK(astreum_atom_id(1, &remote->stored[i][33], 1, next, remote->ids[i]));
    }
    remote->fetches = 0;
}

static void get(void *user, const uint8_t *id, AstreumLookup *lookup)
{
    const uint8_t *stored = fetch(user, id);
    if (stored != NULL)
        CHECK(astreum_lookup_found(lookup, stored, 34));
}

int main(void)
{
    struct remote remote;
    AstreumMachine *machine;
    AstreumEnv *env;
    AstreumValue *parts[2], *program, *value;
    AstreumOutcome *outcome;
    AstreumSuspension *suspension;
    AstreumStore store = {sizeof store, &remote, get, NULL, NULL};
    size_t len;

    fill(&remote);
    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, NULL, &machine));
    CHECK(astreum_env_new(&env));
    /* (id ref): the list of atoms that starts at the id. */
    CHECK(astreum_value_bytes(remote.ids[0], 32, &parts[0]));
    CHECK(astreum_value_symbol(TEXT("ref"), &parts[1]));
    CHECK(astreum_value_list((const AstreumValue *const *)parts, 2, &program));

    CHECK(astreum_machine_eval_value(machine, env, program, ASTREUM_MODE_SUSPEND, &outcome));
    for (;;) {
        AstreumOutcomeInfo info = info_of(outcome);
        const uint8_t *stored;
        if (info.kind != ASTREUM_OUTCOME_KIND_SUSPENDED)
            break;
        EXPECT(info.reason == ASTREUM_REASON_MISSING);
        CHECK(astreum_outcome_take_suspension(outcome, &suspension));
        CHECK(astreum_outcome_free(outcome));
        /* Any amount of time may pass here. */
        stored = fetch(&remote, info.missing_id);
        if (stored != NULL)
            CHECK(astreum_machine_put_atom(machine, stored, 34, NULL));
        else
            CHECK(astreum_suspension_refuse(suspension));
        CHECK(astreum_machine_resume(machine, env, suspension, ASTREUM_MODE_SUSPEND, &outcome));
    }
    EXPECT(remote.fetches == ATOMS);
    CHECK(astreum_outcome_value(outcome, &value));
    CHECK(astreum_value_len(value, &len));
    EXPECT(len == ATOMS);
    print_and_free("after suspensions", value);
    CHECK(astreum_outcome_free(outcome));

    /* The same with a store that the machine reads itself. */
    CHECK(astreum_machine_clear_atoms(machine));
    CHECK(astreum_machine_set_store(machine, &store));
    CHECK(astreum_machine_eval_value(machine, env, program, ASTREUM_MODE_FINISH, &outcome));
    CHECK(astreum_outcome_value(outcome, &value));
    print_and_free("with a store", value);
    CHECK(astreum_outcome_free(outcome));

    CHECK(astreum_value_free(parts[0]));
    CHECK(astreum_value_free(parts[1]));
    CHECK(astreum_value_free(program));
    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    return 0;
}
