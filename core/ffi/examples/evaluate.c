/* Evaluates a definition and two calls, one of them with values of the host. */

#include "check.h"

int main(void)
{
    AstreumMachine *machine;
    AstreumEnv *env;
    AstreumOutcome *outcome;
    AstreumValue *value, *arguments[2];
    int64_t sum;

    CHECK(astreum_abi_check(ASTREUM_ABI_VERSION));
    printf("version %s\n", astreum_version());
    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, NULL, &machine));
    CHECK(astreum_env_new(&env));

    /* A stack program, bound to the name `sum`. */
    CHECK(astreum_machine_eval(machine, env, TEXT("((($0 $1 add) sk) sum def)"),
                               ASTREUM_MODE_FINISH, &outcome));
    EXPECT(info_of(outcome).kind == ASTREUM_OUTCOME_KIND_FINISHED);
    CHECK(astreum_outcome_free(outcome));

    /* Called in a source. */
    CHECK(astreum_machine_eval(machine, env, TEXT("(20 22 sum)"), ASTREUM_MODE_FINISH, &outcome));
    CHECK(astreum_outcome_value(outcome, &value));
    CHECK(astreum_value_as_integer(value, &sum));
    EXPECT(sum == 42);
    print_and_free("source", value);
    CHECK(astreum_outcome_free(outcome));

    /* Called with values of the host; nothing is parsed or compiled again. */
    CHECK(astreum_value_integer(1000, &arguments[0]));
    CHECK(astreum_value_integer(-1, &arguments[1]));
    CHECK(astreum_machine_call(machine, env, TEXT("sum"), (const AstreumValue *const *)arguments, 2,
                               ASTREUM_MODE_FINISH, &outcome));
    CHECK(astreum_outcome_value(outcome, &value));
    CHECK(astreum_value_as_integer(value, &sum));
    EXPECT(sum == 999);
    print_and_free("call", value);
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_value_free(arguments[0]));
    CHECK(astreum_value_free(arguments[1]));

    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    return 0;
}
