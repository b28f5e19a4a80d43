/* An evaluation that runs in slices of steps; each slice in another machine, to which it travels as
 * bytes. */

#include "check.h"

static AstreumMachine *new_machine(void)
{
    AstreumMachine *machine;
    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, NULL, &machine));
    CHECK(astreum_machine_set_slice(machine, 10));
    return machine;
}

int main(void)
{
    /* The second expression calls the function that the first one defines. */
    const char *source = "((($0 $0 add) sk) double def)\n"
                         "(((((((1 double) double) double) double) double) double) double)";
    AstreumMachine *machine = new_machine();
    AstreumEnv *env;
    AstreumScript *script;
    AstreumOutcome *outcome;
    AstreumSuspension *suspension;
    AstreumBuffer *image;
    AstreumSlice bytes;
    AstreumValue *value;
    int64_t number;
    int journeys = 0;

    CHECK(astreum_env_new(&env));
    CHECK(astreum_script_new(TEXT(source), &script, NULL));
    CHECK(astreum_machine_eval_script(machine, env, script, ASTREUM_MODE_SUSPEND, &outcome));
    CHECK(astreum_script_free(script));
    while (info_of(outcome).kind == ASTREUM_OUTCOME_KIND_SUSPENDED) {
        EXPECT(info_of(outcome).reason == ASTREUM_REASON_SLICE);
        CHECK(astreum_outcome_take_suspension(outcome, &suspension));
        CHECK(astreum_outcome_free(outcome));
        CHECK(astreum_suspension_serialize(suspension, env, &image));
        CHECK(astreum_suspension_free(suspension));
        CHECK(astreum_env_free(env));
        CHECK(astreum_machine_free(machine));

        /* Elsewhere: another process, another computer. */
        machine = new_machine();
        CHECK(astreum_buffer_bytes(image, &bytes));
        /* Damaged bytes are refused. */
        EXPECT(astreum_machine_restore(machine, bytes.data, bytes.len - 1, &suspension, &env) ==
               ASTREUM_STATUS_MALFORMED);
        CHECK(astreum_machine_restore(machine, bytes.data, bytes.len, &suspension, &env));
        CHECK(astreum_buffer_free(image));
        CHECK(astreum_machine_resume(machine, env, suspension, ASTREUM_MODE_SUSPEND, &outcome));
        journeys++;
    }
    EXPECT(journeys > 1);
    CHECK(astreum_outcome_value(outcome, &value));
    CHECK(astreum_value_as_integer(value, &number));
    EXPECT(number == 128);
    printf("%d journeys\n", journeys);
    print_and_free("value", value);
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    return 0;
}
