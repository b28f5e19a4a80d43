// View of the debugger.

import { caretLines, element, toStringOffset } from "./editor.js";

const $ = (id) => document.getElementById(id);
const grouped = (number) => number.toLocaleString("en");

/** Shows a suspended evaluation, or that it ended. */
export function showDebugger(state, { source, meterLimit }, editor) {
    const isOpen = state.kind === "suspended";
    $("debug-view").hidden = !isOpen;
    $("debug-state").className = "";
    if (!isOpen) {
        $("debug-state").textContent = state.kind === "parse error"
            ? "The program cannot be parsed: see Result."
            : `Ended with ${shortened(state.text)}. Charge: ${grouped(state.used)}. See Result.`;
        return;
    }
    $("debug-state").textContent = sentence(state);
    $("debug-state").className = state.reason === "slice" ? "" : "error-text";
    const span = state.span === null ? null : {
        start: toStringOffset(source, state.span.start),
        end: toStringOffset(source, state.span.end),
    };
    $("debug-source").replaceChildren(...(span === null
        ? ["not in this source"]
        : caretLines(source, span)));
    if (editor.source === source) {
        editor.mark(span === null ? [] : [{ ...span, type: "place" }]);
    }
    const { stack } = state;
    $("next").textContent = stack === null ? state.operation : stack.next;
    $("token").textContent = stack === null
        ? "no stack program is running"
        : `${grouped(stack.token)} of ${grouped(stack.tokens)}`;
    $("debug-charge").textContent = `${grouped(state.used)} of ${grouped(meterLimit)}`;
    $("calls").textContent = state.names.map((name) => name || "(program)").join(" ← ");
    $("stack-count").textContent = stack === null ? "" : `(${grouped(stack.depth)})`;
    showValues("stack", stack?.values ?? []);
    showPairs("heap", stack?.heap ?? []);
    showValues("values", state.values);
    showPairs("bindings", state.bindings);
}

function sentence({ reason, missing, count }) {
    switch (reason) {
        case "missing":
            return `Waits for the atom ${missing}, which is not here: the next step gives the program an error.`;
        case "meter":
            return "The meter refuses the charge: the next step gives the program an error.";
        default:
            return count === 0 ? "Before the first operation." : `After ${grouped(count)} ${count === 1 ? "operation" : "operations"}.`;
    }
}

function shortened(text) {
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Shows values, the topmost first. */
function showValues(id, values) {
    const items = [...values].reverse().map((value) => element("li", "", value));
    $(id).replaceChildren(...(items.length > 0 ? items : [element("li", "empty", "empty")]));
}

function showPairs(id, pairs) {
    const items = pairs.flatMap(([name, value]) =>
        [element("dt", "", name), element("dd", "", value)]);
    $(id).replaceChildren(...(items.length > 0 ? items : [element("dt", "empty", "empty")]));
}
