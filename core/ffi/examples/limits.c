/* Limits of an untrusted program, and the positions of its errors. */

#include "check.h"

static void errors(AstreumMachine *machine, AstreumEnv *env)
{
    const char *source = "(1 2 ((\n  $0 add $1) sk))";
    AstreumOutcome *outcome;
    AstreumFailure failure;
    AstreumParseError parse_error;
    AstreumValue *value;

    CHECK(astreum_machine_eval(machine, env, TEXT(source), ASTREUM_MODE_FINISH, &outcome));
    EXPECT(info_of(outcome).failures == 1);
    failure.size = sizeof failure;
    CHECK(astreum_outcome_failure(outcome, 0, &failure));
    printf("%.*s at token %d, opcode %.*s, %d value on the stack, source bytes %d to %d: %.*s\n",
           (int)failure.message.len, (const char *)failure.message.data, (int)failure.token,
           (int)failure.opcode.len, (const char *)failure.opcode.data, (int)failure.depth,
           (int)failure.start, (int)failure.end, (int)(failure.end - failure.start),
           source + failure.start);
    EXPECT(failure.kind == ASTREUM_ERROR_KIND_UNDERFLOW && failure.has_stack && failure.has_span);
    EXPECT(failure.token == 1 && failure.depth == 1);
    EXPECT(strncmp(source + failure.start, "add", 3) == 0);
    CHECK(astreum_outcome_value(outcome, &value));
    print_and_free("value", value);
    CHECK(astreum_outcome_free(outcome));

    parse_error.size = sizeof parse_error;
    EXPECT(astreum_value_parse(TEXT("(1 (2"), &value, &parse_error) == ASTREUM_STATUS_PARSE_ERROR);
    EXPECT(value == NULL && parse_error.is_incomplete);
    printf("%.*s at line %d, column %d\n", (int)parse_error.message.len,
           (const char *)parse_error.message.data, (int)parse_error.line, (int)parse_error.column);
}

int main(void)
{
    AstreumLimits limits;
    AstreumMachine *machine;
    AstreumEnv *env;
    AstreumOutcome *outcome;
    AstreumOutcomeInfo info;
    AstreumScript *script;

    limits.size = sizeof limits;
    CHECK(astreum_limits_default(&limits));
    limits.steps = 10000;
    limits.live_bytes = 1 << 20;
    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, &limits, &machine));
    CHECK(astreum_machine_set_meter_limit(machine, 1000));
    CHECK(astreum_env_new(&env));

    /* Calls itself without end. */
    CHECK(astreum_script_new(TEXT("(((x loop) (x) fn) loop def) (1 loop)"), &script, NULL));
    CHECK(astreum_machine_eval_script(machine, env, script, ASTREUM_MODE_FINISH, &outcome));
    info = info_of(outcome);
    EXPECT(info.kind == ASTREUM_OUTCOME_KIND_LIMIT);
    EXPECT(info.limit_kind == ASTREUM_LIMIT_KIND_STEPS && info.limit == 10000);
    EXPECT(info.limit_used > info.limit);
    printf("stopped by the step limit of %d\n", (int)info.limit);
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_script_free(script));

    errors(machine, env);
    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    return 0;
}
