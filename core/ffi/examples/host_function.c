/* Functions of the host: arguments, a price, a value, an error that is kept, and a wait. */

#include "check.h"

struct shop {
    int sold;
    int dropped;
};

/* Costs 10. */
static void price(void *user, AstreumCall *call)
{
    struct shop *shop = user;
    AstreumSlice item;
    AstreumValue *error;

    if (astreum_call_charge(call, 10) != ASTREUM_STATUS_OK)
        return;
    if (astreum_call_argument_data(call, 0, &item) == ASTREUM_STATUS_OK && item.len == 5 &&
        memcmp(item.data, "apple", 5) == 0) {
        shop->sold++;
        CHECK(astreum_call_return_integer(call, 3));
        return;
    }
    /* An error value, which the program may handle. */
    CHECK(astreum_value_error(TEXT("price"), TEXT("unknown item"), &error));
    CHECK(astreum_call_return(call, error));
    CHECK(astreum_value_free(error));
}

/* An error of the host, which ends the evaluation. */
static void broken(void *user, AstreumCall *call)
{
    (void)user;
    CHECK(astreum_call_fail(call, 1234, TEXT("out of paper")));
}

/* Waits for a value. */
static void answer(void *user, AstreumCall *call)
{
    (void)user;
    CHECK(astreum_call_suspend(call));
}

static void drop_shop(void *user)
{
    ((struct shop *)user)->dropped++;
}

int main(void)
{
    struct shop shop = {0, 0};
    AstreumMachine *machine;
    AstreumEnv *env;
    AstreumOutcome *outcome;
    AstreumOutcomeInfo info;
    AstreumHostError host_error;
    AstreumSuspension *suspension;
    AstreumValue *value;
    AstreumSlice name;
    size_t count;
    int64_t number;

    CHECK(astreum_machine_new(ASTREUM_ABI_VERSION, NULL, &machine));
    CHECK(astreum_env_new(&env));
    CHECK(astreum_machine_bind(machine, TEXT("price"), price, &shop, drop_shop));
    CHECK(astreum_machine_bind(machine, TEXT("broken"), broken, NULL, NULL));
    CHECK(astreum_machine_bind(machine, TEXT("answer"), answer, NULL, NULL));

    CHECK(astreum_machine_eval(machine, env, TEXT("(\"apple\" price)"), ASTREUM_MODE_FINISH,
                               &outcome));
    EXPECT(info_of(outcome).used == 10);
    CHECK(astreum_outcome_value(outcome, &value));
    print_and_free("apple", value);
    CHECK(astreum_outcome_free(outcome));

    CHECK(astreum_machine_eval(machine, env, TEXT("(\"pear\" price)"), ASTREUM_MODE_FINISH,
                               &outcome));
    EXPECT(info_of(outcome).kind == ASTREUM_OUTCOME_KIND_FINISHED);
    CHECK(astreum_outcome_value(outcome, &value));
    print_and_free("pear", value);
    CHECK(astreum_outcome_free(outcome));

    /* The limit of the meter refuses the charge. */
    CHECK(astreum_machine_set_meter_limit(machine, 10));
    CHECK(astreum_machine_eval(machine, env, TEXT("(\"apple\" price)"), ASTREUM_MODE_FINISH,
                               &outcome));
    info = info_of(outcome);
    EXPECT(info.kind == ASTREUM_OUTCOME_KIND_LIMIT);
    EXPECT(info.limit_kind == ASTREUM_LIMIT_KIND_METER && info.used == 0);
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_machine_set_meter_limit(machine, ASTREUM_UNLIMITED));

    CHECK(astreum_machine_eval(machine, env, TEXT("(1 broken)"), ASTREUM_MODE_FINISH, &outcome));
    EXPECT(info_of(outcome).kind == ASTREUM_OUTCOME_KIND_HOST_ERROR);
    host_error.size = sizeof host_error;
    CHECK(astreum_outcome_host_error(outcome, &host_error));
    printf("%.*s failed with %d: %.*s\n", (int)host_error.function.len,
           (const char *)host_error.function.data, (int)host_error.code,
           (int)host_error.message.len, (const char *)host_error.message.data);
    EXPECT(host_error.code == 1234);
    CHECK(astreum_outcome_free(outcome));

    /* The evaluation waits until the host has the value. */
    CHECK(astreum_machine_eval(machine, env, TEXT("((7 answer) 1 (($0 $1 add) sk))"),
                               ASTREUM_MODE_SUSPEND, &outcome));
    EXPECT(info_of(outcome).reason == ASTREUM_REASON_HOST_FUNCTION);
    CHECK(astreum_outcome_take_suspension(outcome, &suspension));
    CHECK(astreum_outcome_free(outcome));
    CHECK(astreum_suspension_call(suspension, &name, &count));
    EXPECT(name.len == 6 && count == 1);
    CHECK(astreum_value_integer(41, &value));
    CHECK(astreum_suspension_answer(suspension, value));
    CHECK(astreum_value_free(value));
    CHECK(astreum_machine_resume(machine, env, suspension, ASTREUM_MODE_SUSPEND, &outcome));
    CHECK(astreum_outcome_value(outcome, &value));
    CHECK(astreum_value_as_integer(value, &number));
    EXPECT(number == 42);
    print_and_free("answer", value);
    CHECK(astreum_outcome_free(outcome));

    CHECK(astreum_env_free(env));
    CHECK(astreum_machine_free(machine));
    EXPECT(shop.sold == 1 && shop.dropped == 1);
    return 0;
}
