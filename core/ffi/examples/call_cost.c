/* Prints the cost of calls through the ABI, in nanoseconds: `call_cost [REPETITIONS]`. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void increase(void *user, AstreumCall *call)
{
    int64_t number;
    (void)user;
    CHECK(astreum_call_argument_integer(call, 0, &number));
    CHECK(astreum_call_return_integer(call, number + 1));
}

/* Runs the calls once and returns the nanoseconds per call. */
static double call(AstreumMachine *machine, AstreumEnv *env, const char *name, AstreumValue *argument,
                   long repetitions)
{
    double start = now();
    for (long i = 0; i < repetitions; i++) {
        AstreumOutcome *outcome;
        AstreumValue *value;
        int64_t number;
        CHECK(astreum_machine_call(machine, env, TEXT(name), (const AstreumValue *const *)&argument,
                                   1, ASTREUM_MODE_FINISH, &outcome));
        CHECK(astreum_outcome_value(outcome, &value));
        CHECK(astreum_value_as_integer(value, &number));
        EXPECT(number == 42);
        CHECK(astreum_value_free(value));
        CHECK(astreum_outcome_free(outcome));
    }
    return (now() - start) / (double)repetitions;
}

int main(int argc, char **argv)
{
    long repetitions = argc > 1 ? atol(argv[1]) : 1000000;
    AstreumMachine *machine;
    AstreumEnv *env;
    AstreumOutcome *outcome;
    AstreumScript *script;
    AstreumValue *argument;
    uint32_t sum = 0;
    double start;

    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, NULL, &machine));
    CHECK(astreum_env_new(&env));
    CHECK(astreum_machine_bind(machine, TEXT("host.increase"), increase, NULL, NULL));
    CHECK(astreum_script_new(TEXT("((($0 1 add) sk) increase def)"
                                  "(((x host.increase) (x) fn) ask def)"),
                             &script, NULL));
    CHECK(astreum_machine_eval_script(machine, env, script, ASTREUM_MODE_FINISH, &outcome));
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_value_integer(41, &argument));

    start = now();
    for (long i = 0; i < repetitions; i++)
        sum += astreum_abi_check(ASTREUM_ABI_VERSION);
    EXPECT(sum == 0);
    printf("empty function: %.1f ns\n", (now() - start) / (double)repetitions);
    printf("call of a stack program, with its outcome and value: %.1f ns\n",
           call(machine, env, "increase", argument, repetitions));
    printf("call of a function that calls the host: %.1f ns\n",
           call(machine, env, "ask", argument, repetitions));

    CHECK(astreum_value_free(argument));
    CHECK(astreum_script_free(script));
    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    return 0;
}
