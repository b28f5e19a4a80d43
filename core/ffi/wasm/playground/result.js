// View of a result: value, meter, and errors with carets.

import { caretLines, element, lineAndColumn, toStringOffset } from "./editor.js";

const $ = (id) => document.getElementById(id);
const grouped = (number) => number.toLocaleString("en");

const LIMIT_NAMES = {
    depth: "open calls",
    stackItems: "values on the stack",
    heapEntries: "keys on the heap",
    liveBytes: "bytes of memory",
    steps: "steps",
    atoms: "atoms",
    atomBytes: "bytes of atoms",
};

/** Returns the span of the character at an offset; at the end of the source, of the last character. */
export function spanOf(source, offset) {
    const start = Math.max(0, Math.min(offset, source.trimEnd().length - (offset >= source.length ? 1 : 0)));
    const [character = ""] = source.slice(start);
    return { start, end: start + character.length };
}

/** Shows the result of an evaluation. */
export function showResult(result, { source, meterLimit }, editor) {
    if (result.kind === "parse error") {
        const offset = toStringOffset(source, result.offset);
        const errors = [{ message: result.message, span: spanOf(source, offset) }];
        if (result.open !== null) {
            const open = toStringOffset(source, result.open);
            errors.push({ message: "the list that is not closed starts here", span: { start: open, end: open + 1 } });
        }
        $("state").textContent = "The program cannot be parsed.";
        $("state").className = "error-text";
        $("outcome").hidden = false;
        $("value").textContent = "";
        $("value").classList.add("error");
        showMeter(0n, meterLimit);
        $("usage").textContent = "";
        showErrors(errors, 0, source, editor);
        return;
    }
    const [text, isError] = outcomeSentence(result);
    $("state").textContent = text;
    $("state").className = isError ? "error-text" : "";
    $("outcome").hidden = false;
    $("value").textContent = result.text;
    $("value").classList.toggle("error", result.isError);
    showMeter(result.used, meterLimit);
    $("usage").textContent = `${grouped(result.steps)} steps in ${result.milliseconds.toFixed(1)} ms`;
    const errors = result.failures.map((failure) => {
        const symbol = failure.symbol === null ? "" : ` '${failure.symbol}'`;
        const stack = failure.stack === null ? "" : ` (token ${failure.stack.token}${failure.stack.opcode === null ? "" : `, ${failure.stack.opcode}`}, ${failure.stack.depth} on the stack)`;
        const span = failure.span === null ? null : {
            start: toStringOffset(source, failure.span.start),
            end: toStringOffset(source, failure.span.end),
        };
        return { message: `${failure.message}${symbol}${stack}`, span };
    });
    showErrors(errors, Number(result.failureCount) - errors.length, source, editor);
}

function outcomeSentence({ kind, limit, missing, isError, failureCount }) {
    switch (kind) {
        case "finished":
            if (isError) {
                return ["The program ended with an error.", true];
            }
            return [failureCount === 0n ? "Finished." : `Finished, with ${grouped(failureCount)} ${failureCount === 1n ? "error" : "errors"} on the way.`, false];
        case "limit":
            return limit.kind === "meter"
                ? [`The meter refused a charge: ${grouped(limit.used)} reaches the limit of ${grouped(limit.limit)}. The program got an error, and went on.`, true]
                : [`Stopped at a limit: the program needs more than ${grouped(limit.limit)} ${LIMIT_NAMES[limit.kind]}.`, true];
        case "missing":
            return [`The atom ${missing} is not here. The program got an error, and went on.`, true];
        case "interrupted":
            return ["Interrupted.", true];
        default:
            return [`Ended: ${kind}.`, true];
    }
}

function showMeter(used, limit) {
    $("charge").textContent = `${grouped(used)} of ${grouped(limit)} used`;
    $("meter").value = limit === 0n ? 0 : Number((used * 1000n) / limit) / 1000;
}

function showErrors(errors, more, source, editor) {
    $("errors-box").hidden = errors.length === 0;
    $("errors").replaceChildren(...errors.map((error) => errorItem(error, source, editor)));
    if (more > 0) {
        $("errors").append(element("li", "hint", `and ${grouped(more)} more`));
    }
    if (editor.source === source) {
        editor.mark(errors.filter(({ span }) => span !== null)
            .map(({ span }) => ({ ...span, type: "error" })));
    }
}

function errorItem({ message, span }, source, editor) {
    if (span === null) {
        return element("li", "", element("p", "message", message));
    }
    const { line, column } = lineAndColumn(source, span.start);
    const place = element("button", "place-link", `${line}:${column}`);
    place.title = "Go to this place";
    place.addEventListener("click", () => editor.select(span));
    return element("li", "", element("p", "message", place, " ", message),
        element("pre", "snippet", ...caretLines(source, span)));
}
