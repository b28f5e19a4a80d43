// Editor: a text area above its highlighted copy, with line numbers and marked errors.

const OPCODES = new Set(["add", "nand", "jump", "heap_get", "heap_set", "atom_slice", "atom_link",
    "atom_concat", "atom_new", "atom_load"]);
const FORMS = new Set(["def", "fn", "sk", "ref", "error"]);
/** Longer sources are shown without colours: every key would be slow. */
const MAX_HIGHLIGHTED = 60_000;
/** Characters of a line that are shown before and after an error. */
const CONTEXT = 60;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Converts offsets in the UTF-8 form of a source to offsets in the string. */
export function toStringOffset(source, offset) {
    const bytes = encoder.encode(source);
    return decoder.decode(bytes.subarray(0, offset)).length;
}

/** Returns the line and the column, in characters, of an offset; both start at 1. */
export function lineAndColumn(source, offset) {
    const before = source.slice(0, offset);
    const start = before.lastIndexOf("\n") + 1;
    return { line: before.split("\n").length, column: [...before.slice(start)].length + 1 };
}

/** Returns the line of a span with carets below the span, as elements of a `pre`. */
export function caretLines(source, span) {
    const start = source.lastIndexOf("\n", span.start - 1) + 1;
    const newline = source.indexOf("\n", span.start);
    const end = newline < 0 ? source.length : newline;
    const first = Math.max(start, span.start - CONTEXT);
    const last = Math.min(Math.max(span.end, span.start), end, span.start + CONTEXT);
    const before = (first > start ? "…" : "") + source.slice(first, span.start);
    const marked = source.slice(span.start, last);
    const shownEnd = Math.min(end, last + CONTEXT);
    const after = source.slice(last, shownEnd) + (shownEnd < end ? "…" : "");
    const { line } = lineAndColumn(source, span.start);
    const label = `${line} | `;
    const carets = "^".repeat(Math.max(1, [...marked].length));
    // The carets stand below the text whatever its width: the text before them is repeated.
    return [
        element("span", "line-number", label), before, element("mark", "", marked), after, "\n",
        element("span", "ghost", " ".repeat(label.length) + before), element("b", "carets", carets),
    ];
}

export function element(name, className, ...content) {
    const found = document.createElement(name);
    if (className) {
        found.className = className;
    }
    found.append(...content);
    return found;
}

export class Editor {
    #area = document.getElementById("source");
    #highlight = document.getElementById("highlight");
    #numbers = document.getElementById("numbers");
    #tokens;
    #marks = [];
    #lines = 0;

    /** `tokens` splits a source into tokens; it may throw a parse error. */
    constructor(tokens, onChange) {
        this.#tokens = tokens;
        this.#area.addEventListener("input", () => {
            this.mark([]);
            onChange();
        });
        this.#area.addEventListener("scroll", () => this.#scroll());
    }

    get source() {
        return this.#area.value;
    }

    set source(source) {
        this.#area.value = source;
        this.#area.scrollTo(0, 0);
        this.mark([]);
    }

    /** Marks spans, each with a class: `error` or `place`. */
    mark(marks) {
        this.#marks = marks;
        this.#draw();
    }

    /** Moves the cursor to a span. */
    select(span) {
        this.#area.focus();
        this.#area.setSelectionRange(span.start, span.end);
    }

    #draw() {
        const source = this.source;
        const isShort = source.length <= MAX_HIGHLIGHTED;
        this.#area.classList.toggle("plain", !isShort);
        const pieces = isShort ? this.#pieces(source) : [];
        this.#highlight.replaceChildren(...pieces, "\n");
        const lines = source.split("\n").length;
        if (lines !== this.#lines) {
            this.#lines = lines;
            this.#numbers.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n");
        }
        this.#scroll();
    }

    #scroll() {
        const { scrollLeft, scrollTop } = this.#area;
        this.#highlight.style.transform = `translate(${-scrollLeft}px, ${-scrollTop}px)`;
        this.#numbers.style.transform = `translateY(${-scrollTop}px)`;
    }

    /** Returns the coloured pieces of a source. */
    #pieces(source) {
        const spans = this.#spans(source);
        // Pieces end where a token or a mark begins or ends.
        const cuts = new Set([0, source.length]);
        for (const { start, end } of [...spans, ...this.#marks]) {
            cuts.add(start).add(end);
        }
        const sorted = [...cuts].sort((a, b) => a - b);
        let next = 0;
        return sorted.slice(1).map((end, index) => {
            const start = sorted[index];
            while (next < spans.length && spans[next].end <= start) {
                next += 1;
            }
            const token = next < spans.length && spans[next].start <= start ? spans[next] : null;
            const piece = source.slice(start, end);
            const classes = token ? [token.type] : piece.includes(";") ? ["comment"] : [];
            for (const mark of this.#marks) {
                if (mark.start <= start && end <= mark.end) {
                    classes.push(mark.type);
                }
            }
            return classes.length > 0 ? element("span", classes.join(" "), piece) : piece;
        });
    }

    /** Returns the tokens with offsets in the string, and their classes. */
    #spans(source) {
        const bytes = encoder.encode(source);
        let [tokens, end] = [null, bytes.length];
        // An error is in a string: what is before it has tokens.
        for (let attempt = 0; tokens === null && attempt < 3; attempt += 1) {
            try {
                tokens = this.#tokens(bytes.subarray(0, end));
            } catch (error) {
                end = Math.min(error.offset ?? 0, end);
            }
        }
        let [at, offset] = [0, 0];
        // Tokens come in order, so that every byte is decoded once.
        const toString = (target) => {
            offset += decoder.decode(bytes.subarray(at, target)).length;
            at = target;
            return offset;
        };
        const spans = (tokens ?? []).map((token) => {
            const span = { start: toString(token.start), end: toString(token.end) };
            return { ...span, type: tokenClass(token.type, source.slice(span.start, span.end)) };
        });
        if (end < bytes.length) {
            spans.push({ start: toString(end), end: source.length, type: "string" });
        }
        return spans;
    }
}

function tokenClass(type, text) {
    if (type !== "atom") {
        return type === "string" ? "string" : "parenthesis";
    }
    if (OPCODES.has(text)) {
        return "opcode";
    }
    if (FORMS.has(text)) {
        return "form";
    }
    if (/^\$\d+$/.test(text)) {
        return "placeholder";
    }
    return /^(-?\d+|0x[0-9a-f]*)$/i.test(text) ? "number" : "symbol";
}
