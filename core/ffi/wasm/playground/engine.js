// Work of the playground without its page: evaluation, steps, atoms and proofs. Runs in a worker.

import { AstreumError, AstreumSymbol } from "./astreum.js";

/** Steps between two tasks of the worker. */
const SLICE_STEPS = 200_000;
/** Memory of a program; a page has less of it than a server. */
const LIVE_BYTES = 16 << 20;
const MAX_PRINTED_BYTES = 20_000;
const MAX_ATOMS = 400;
const MAX_PREVIEW_BYTES = 60;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const string = (bytes) => decoder.decode(bytes);
const number = (bytes) => bytes.reduce((sum, byte) => sum * 256 + byte, 0);

/** Returns the lower-case hex digits of bytes. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Engine {
    #astreum;
    #session = null;
    #value = null;

    constructor(astreum) {
        this.#astreum = astreum;
    }

    /** Evaluates a source to its end. */
    async run({ source, meterLimit, stepLimit }) {
        this.#end();
        const machine = this.#machine(meterLimit, stepLimit);
        const env = this.#astreum.env();
        try {
            const start = performance.now();
            const outcome = await this.#finish(machine, env, () =>
                machine.evalAll(source, env, { suspend: true }));
            return this.#result(outcome, performance.now() - start);
        } catch (error) {
            return parseFailure(error);
        } finally {
            env.free();
            machine.free();
        }
    }

    /** Starts the debugger. */
    debug({ source, meterLimit, stepLimit }) {
        this.#end();
        const machine = this.#machine(meterLimit, stepLimit);
        const env = this.#astreum.env();
        this.#session = { machine, env, outcome: null, count: 0, start: performance.now() };
        try {
            const outcome = this.#astreum.withScript(source, (script) =>
                machine.outcome("astreum_playground_start", env.pointer, script));
            return this.#show(outcome);
        } catch (error) {
            this.#end();
            return parseFailure(error);
        }
    }

    /** Runs at most `count` operations: fewer if the program ends, or waits for the host. */
    step({ count }) {
        const session = this.#session;
        if (session === null) {
            return null;
        }
        refuse(session.outcome);
        for (let ran = 0; ran < count; ran += 1) {
            const { suspension } = session.outcome;
            session.outcome = session.machine.outcome(
                "astreum_playground_step", session.env.pointer, suspension.pointer);
            // It was consumed.
            suspension.pointer = 0;
            if (session.outcome.kind !== "suspended" || session.outcome.reason !== "slice") {
                break;
            }
            session.count += 1;
        }
        return this.#show(session.outcome);
    }

    /** Runs the evaluation of the debugger to its end. */
    async finish() {
        const session = this.#session;
        if (session === null) {
            return null;
        }
        const { machine, env, outcome } = session;
        refuse(outcome);
        return this.#show(await this.#finish(machine, env, () =>
            machine.resume(outcome.suspension, env)));
    }

    /** Returns the atoms of all expressions of a source, or of the last value, as trees. */
    atoms({ source }) {
        const stored = new Map();
        const store = { get: () => undefined, put: (id, bytes) => stored.set(hex(id), bytes) };
        const machine = this.#astreum.machine({ store });
        try {
            const values = source === undefined
                ? [this.#value].filter((value) => value !== null)
                : this.#expressions(source);
            const budget = { left: MAX_ATOMS };
            const roots = values.map((value) => hex(machine.writeValue(value)));
            const trees = roots.map((root) => this.#tree(root, stored, budget));
            const shown = trees.filter((tree) => tree !== null);
            return { trees: shown, count: stored.size, isCut: budget.left <= 0 };
        } catch (error) {
            return parseFailure(error);
        } finally {
            machine.free();
        }
    }

    /** Verifies a proof: root and proof are bytes, as is the key. */
    verify({ root, key, proof }) {
        const astreum = this.#astreum;
        const value = astreum.withBytes(root, (rootData) => astreum.withBytes(key, (keyData, keyLen) =>
            astreum.withBytes(proof, (data, len) => astreum.takeValue(astreum.handle(
                "astreum_playground_verify_proof", rootData, keyData, keyLen, data, len)))));
        const [{ name }, detail] = value;
        return {
            kind: name,
            message: name === "invalid" ? string(detail) : null,
            value: name === "value" ? astreum.print(detail, MAX_PRINTED_BYTES) : null,
            valueHex: name === "value" ? hex(detail) : null,
            atoms: this.#proofAtoms(proof),
        };
    }

    #machine(meterLimit, stepLimit) {
        return this.#astreum.machine({
            meterLimit,
            limits: { steps: stepLimit, liveBytes: LIVE_BYTES },
            slice: SLICE_STEPS,
        });
    }

    /** Resumes until the end; other tasks of the worker run in between. */
    async #finish(machine, env, start) {
        let outcome = start();
        while (outcome.kind === "suspended") {
            await new Promise((resolve) => setTimeout(resolve, 0));
            refuse(outcome);
            outcome = machine.resume(outcome.suspension, env);
        }
        return outcome;
    }

    #end() {
        this.#value = null;
        const session = this.#session;
        this.#session = null;
        if (session !== null) {
            session.outcome?.suspension?.free();
            session.env.free();
            session.machine.free();
        }
    }

    /** Returns the state of the debugger. */
    #show(outcome) {
        const session = this.#session;
        session.outcome = outcome;
        if (outcome.kind !== "suspended") {
            const result = this.#result(outcome, performance.now() - session.start);
            const value = this.#value;
            this.#end();
            this.#value = value;
            return result;
        }
        const handle = this.#astreum.handle(
            "astreum_playground_inspect", outcome.suspension.pointer);
        const [operation, span, names, stack, values, bindings] = this.#astreum.takeValue(handle);
        const pairs = (list) => list.map((pair) => pair.map(string));
        return {
            kind: "suspended",
            reason: outcome.reason,
            missing: outcome.missing === null ? null : hex(outcome.missing.id),
            used: outcome.used,
            count: session.count,
            operation: string(operation),
            span: span.length === 0 ? null : { start: number(span[0]), end: number(span[1]) },
            names: names.map(string),
            stack: stack.length === 0 ? null : {
                token: number(stack[0]),
                tokens: number(stack[1]),
                next: string(stack[2]),
                depth: number(stack[3]),
                values: stack[4].map(string),
                heap: pairs(stack[5]),
            },
            values: values.map(string),
            bindings: pairs(bindings),
        };
    }

    #result(outcome, milliseconds) {
        const { value } = outcome;
        this.#value = value;
        return {
            kind: outcome.kind,
            text: this.#astreum.print(value, MAX_PRINTED_BYTES),
            isError: Array.isArray(value) && value[0] instanceof AstreumSymbol
                && value[0].name === "error",
            used: outcome.used,
            steps: outcome.steps,
            limit: outcome.limit,
            missing: outcome.missing === null ? null : hex(outcome.missing.id),
            failures: outcome.failures,
            failureCount: outcome.failureCount,
            milliseconds,
        };
    }

    /** Returns the first expressions of a source. */
    #expressions(source) {
        const { abi, scratch } = this.#astreum;
        return this.#astreum.withScript(source, (script) => {
            this.#astreum.check(abi.astreum_script_len(script, scratch));
            const count = this.#astreum.view().getUint32(scratch, true);
            return Array.from({ length: Math.min(count, MAX_ATOMS) }, (_, index) =>
                this.#astreum.takeValue(
                    this.#astreum.handle("astreum_script_expr", script, index)));
        });
    }

    /** Returns the expression whose first atom has this id. Does not recurse. */
    #tree(root, stored, budget) {
        const result = [];
        const pending = [{ id: root, into: result }];
        while (pending.length > 0 && budget.left > 0) {
            const { id, into } = pending.pop();
            budget.left -= 1;
            const node = { id, ...this.#describe(stored.get(id)) };
            into.push(node);
            if (node.kind === "list") {
                node.items = [];
                this.#listAtoms(id, stored, budget, node.items);
                // The first item is described first, because the stack is reversed.
                for (const item of [...node.items].reverse()) {
                    item.child = [];
                    pending.push({ id: item.childId, into: item.child });
                }
            }
        }
        return result[0] ?? null;
    }

    #listAtoms(head, stored, budget, items) {
        let id = head;
        while (budget.left > 0 && !/^0*$/.test(id)) {
            const bytes = stored.get(id);
            if (bytes === undefined || bytes.length === 33) {
                return;
            }
            budget.left -= 1;
            const next = hex(bytes.subarray(0, 32));
            items.push({ id, next, childId: hex(bytes.subarray(33)) });
            id = next;
        }
    }

    #describe(bytes) {
        const data = bytes.subarray(33);
        switch (bytes[32]) {
            case 0:
                return { kind: "symbol", text: string(data) };
            case 1:
                return { kind: "bytes", text: this.#astreum.print(data, MAX_PREVIEW_BYTES), size: data.length };
            default:
                return { kind: "list" };
        }
    }

    /** Returns the atoms of a proof, as far as they can be decoded. */
    #proofAtoms(proof) {
        const view = new DataView(proof.buffer, proof.byteOffset, proof.byteLength);
        const atoms = [];
        let at = 0;
        while (at + 4 <= proof.length && atoms.length < MAX_ATOMS) {
            const end = at + 4 + view.getUint32(at);
            const bytes = proof.subarray(at + 4, end);
            if (end > proof.length || bytes.length < 33 || bytes[32] > 2) {
                break;
            }
            atoms.push({
                id: hex(this.#astreum.atomId(bytes)),
                kind: ["symbol", "bytes", "list"][bytes[32]],
                size: bytes.length - 33,
            });
            at = end;
        }
        return atoms;
    }
}

/** Lets the program continue without what it waits for. */
function refuse(outcome) {
    if (outcome.reason !== "slice") {
        outcome.suspension.refuse();
    }
}

function parseFailure(error) {
    if (!(error instanceof AstreumError) || error.offset === undefined) {
        throw error;
    }
    const { message, offset, open } = error;
    return { kind: "parse error", message, offset, open: open?.offset ?? null };
}
