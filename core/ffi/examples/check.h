/* Ends an example with a message if a function of the library fails. */

#ifndef ASTREUM_EXAMPLES_CHECK_H
#define ASTREUM_EXAMPLES_CHECK_H

#include "astreum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call) check((call), #call, __LINE__)
#define EXPECT(condition) expect((condition), #condition, __LINE__)

/* Pointer and length of a text, as two arguments. */
#define TEXT(text) (const uint8_t *)(text), strlen(text)

static inline void check(AstreumStatus status, const char *call, int line)
{
    if (status != ASTREUM_STATUS_OK) {
        fprintf(stderr, "line %d: %s: %s\n", line, call, astreum_status_message(status));
        exit(1);
    }
}

static inline void expect(bool holds, const char *condition, int line)
{
    if (!holds) {
        fprintf(stderr, "line %d: not true: %s\n", line, condition);
        exit(1);
    }
}

/* Prints a value with a label, and frees it. */
static inline void print_and_free(const char *label, AstreumValue *value)
{
    AstreumBuffer *text;
    AstreumSlice bytes;
    CHECK(astreum_value_print(value, 1000, &text));
    CHECK(astreum_buffer_bytes(text, &bytes));
    printf("%s: %s\n", label, (const char *)bytes.data);
    CHECK(astreum_buffer_free(text));
    CHECK(astreum_value_free(value));
}

static inline AstreumOutcomeInfo info_of(const AstreumOutcome *outcome)
{
    AstreumOutcomeInfo info;
    info.size = sizeof info;
    CHECK(astreum_outcome_info(outcome, &info));
    return info;
}

#endif
