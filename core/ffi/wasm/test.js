// Conformance cases and behaviour of the wrapper: `node test.js`, after `./build`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import {
    Astreum, AstreumError, AstreumSymbol, errorValue, integer, symbol, text, toInteger,
} from "./astreum.js";

const CASES = { default: 60, eval_limits: 173, low_eval_limits: 101 };
// Folder of the modules, by default that of the wrapper.
const folder = process.env.ASTREUM_WASM ?? fileURLToPath(new URL(".", import.meta.url));
const load = (name) => Astreum.load(readFileSync(join(folder, name)));
const [astreum, full] = [await load("astreum.wasm"), await load("astreum-full.wasm")];
const unhex = (digits) => Uint8Array.from(Buffer.from(digits, "hex"));
const hex = (bytes) => Buffer.from(bytes).toString("hex");

function cases(name) {
    const file = new URL(`../../../tests/vectors/${name}.jsonl`, import.meta.url);
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    assert.equal(lines.length, CASES[name] ?? CASES.default);
    return lines.map((line) => JSON.parse(line));
}

function fromJson(json) {
    if ("sym" in json) return symbol(json.sym);
    return "bytes" in json ? unhex(json.bytes) : json.list.map(fromJson);
}

function toJson(value) {
    if (value instanceof AstreumSymbol) return { sym: value.name };
    return Array.isArray(value) ? { list: value.map(toJson) } : { bytes: hex(value) };
}

function machineFor(input) {
    const limit = input.limit === null ? undefined : Math.max(0, input.limit);
    const camelCase = (name) => name.replace(/_[a-z]/g, (pair) => pair[1].toUpperCase());
    const limits = Object.fromEntries(
        Object.entries(input.limits ?? {}).map(([name, value]) => [camelCase(name), value]));
    const machine = astreum.machine({ meterLimit: limit, limits });
    (input.atoms ?? []).forEach((atom) => machine.putAtom(unhex(atom)));
    return machine;
}

function checkCases(op, answer) {
    for (const { in: input, out } of cases(op)) {
        let found;
        try {
            found = answer(input);
        } catch (error) {
            assert.ok(error instanceof AstreumError, `${error}`);
            assert.ok("error" in out, `${JSON.stringify(input)}: ${error}`);
            continue;
        }
        assert.deepEqual(found, out, JSON.stringify(input));
    }
}

// A result; with limits also its steps and how it ended.
function toResult(input, outcome) {
    const result = { expr: toJson(outcome.value), used: Number(outcome.used) };
    if (!input.limits) return result;
    const { kind, limit: max, used } = outcome.limit ?? {};
    const snakeCase = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    result.steps = Number(outcome.steps);
    result.outcome = outcome.limit
        ? { limit: snakeCase(kind), max: Number(max), used: Number(used) } : outcome.kind;
    return result;
}

function evaluate(input) {
    const bindings = Object.entries(input.env).map(([name, json]) => [name, fromJson(json)]);
    const [machine, env] = [machineFor(input), astreum.env(Object.fromEntries(bindings))];
    const outcome = machine.eval(input.source, env);
    machine.free();
    env.free();
    return toResult(input, outcome);
}

function run(input) {
    const machine = machineFor(input);
    const outcome = machine.run(input.code.map(unhex));
    machine.free();
    return toResult(input, outcome);
}

test("eval cases", () => checkCases("eval", evaluate));
test("eval cases under low limits", () => checkCases("eval_limits", evaluate));
test("low_eval cases", () => checkCases("low_eval", run));
test("low_eval cases under low limits", () => checkCases("low_eval_limits", run));

test("tokenize cases", () => checkCases("tokenize", ({ source }) => {
    const bytes = text(source);
    const tokens = astreum.tokens(source);
    return {
        tokens: tokens.map(({ start, end }) => Buffer.from(bytes.subarray(start, end)).toString()),
    };
}));

test("parse cases", () => checkCases("parse", ({ source }) => {
    const parsed = astreum.parseFirst(source);
    if (parsed === null) throw new AstreumError(10, "no expression");
    const bytes = Buffer.from(parsed.rest);
    const rest = astreum.tokens(parsed.rest);
    return {
        expr: toJson(parsed.value),
        rest: rest.map(({ start, end }) => bytes.subarray(start, end).toString()),
    };
}));

test("atom_decode cases", () => checkCases("atom_decode", ({ bytes }) => {
    const machine = astreum.machine();
    const stored = machine.getAtom(machine.putAtom(unhex(bytes)));
    machine.free();
    const [next, kind, data] = [stored.subarray(0, 32), stored[32], stored.subarray(33)];
    return { kind, data: hex(data), next: hex(next) };
}));

test("expr_atoms cases", () => {
    for (const { in: input, out } of cases("expr_atoms")) {
        const atoms = new Set();
        const store = { get: () => undefined, put: (_, stored) => atoms.add(hex(stored)) };
        const machine = astreum.machine({ store });
        const value = fromJson(input.expr);
        assert.equal(hex(machine.writeValue(value)), out.id);
        assert.equal(hex(astreum.id(value)), out.id);
        assert.deepEqual([...atoms].sort(), [...new Set(out.atoms)].sort());
        out.atoms.forEach((stored) => {
            const [id, bytes] = [astreum.atomId(unhex(stored)), unhex(stored)];
            const other = astreum.machine();
            assert.deepEqual(other.putAtom(bytes), id);
            other.free();
        });
        machine.free();
    }
});

test("integers and deeply nested values convert both ways", () => {
    for (const number of [0n, 1n, -1n, 127n, 128n, -128n, -129n, 2n ** 64n, -(2n ** 70n)]) {
        assert.equal(toInteger(integer(number)), number);
    }
    assert.equal(hex(integer(128)), "0080");
    let value = [];
    for (let depth = 0; depth < 20000; depth += 1) value = [value];
    const machine = astreum.machine();
    const env = astreum.env({ deep: value });
    let found = env.get("deep");
    let depth = 0;
    for (; found.length > 0; depth += 1) [found] = found;
    assert.equal(depth, 20000);
    env.free();
    machine.free();
});

test("host functions return, charge, throw and suspend", async () => {
    const machine = astreum.machine({ meterLimit: 100 });
    const env = astreum.env();
    machine.bind("price", (call) => {
        call.charge(10);
        return Buffer.from(call.args[0]).toString() === "apple" ? 3 : errorValue("price", "unknown");
    });
    const failure = new RangeError("out of paper");
    machine.bind("broken", () => {
        throw failure;
    });
    machine.bind("later", (call) => call.suspend());
    const bought = machine.eval("(\"apple\" price)", env);
    assert.deepEqual([toInteger(bought.value), bought.used, bought.kind], [3n, 10n, "finished"]);
    assert.equal(astreum.print(machine.eval("(\"pear\" price)", env).value), "error price: unknown");
    machine.setMeterLimit(10);
    const refused = machine.eval("(\"apple\" price)", env);
    assert.deepEqual(refused.limit, { kind: "meter", limit: 10n, used: 10n });
    const broken = machine.eval("(1 broken)", env);
    assert.equal(broken.kind, "host error");
    assert.equal(broken.hostError.error, failure);
    assert.equal(broken.hostError.function, "broken");
    machine.setMeterLimit(undefined);
    const answer = async (name, args) => toInteger(args[0]) * 6n;
    const answered = await machine.evalAsync("(7 later)", env, { answer });
    assert.equal(toInteger(answered.value), 42n);
    assert.throws(() => machine.bind("def", () => 1), { status: 12 });
    env.free();
    machine.free();
});

test("missing atoms are fetched", async () => {
    const remote = new Map();
    const source = astreum.machine({ store: { get: () => undefined, put: (id, stored) => remote.set(hex(id), stored) } });
    const id = source.writeValue([symbol("a"), symbol("b"), text("c")]);
    source.free();
    const [machine, env] = [astreum.machine(), astreum.env()];
    let fetches = 0;
    const outcome = await machine.evalAsync(`(0x${hex(id)} ref)`, env, {
        fetchAtom: async (missing) => {
            fetches += 1;
            return remote.get(hex(missing));
        },
    });
    assert.deepEqual([outcome.kind, fetches, outcome.value.length], ["finished", 3, 3]);
});

test("suspensions travel as bytes", () => {
    const [machine, env] = [full.machine(), full.env()];
    machine.setSlice(1);
    let slice = machine.eval("((1 2 (($0 $1 add) sk)) 4)", env, { suspend: true });
    let count = 0;
    let place = env;
    while (slice.kind === "suspended") {
        const bytes = slice.suspension.toBytes(place);
        slice.suspension.free();
        const restored = machine.restore(bytes);
        place = restored.env;
        slice = machine.resume(restored.suspension, place);
        assert.throws(() => machine.restore(bytes.subarray(1)), { status: 14 });
        count += 1;
    }
    assert.ok(count > 1);
    assert.equal(full.print(slice.value), "(3 4)");
    const small = astreum.machine();
    assert.throws(() => small.restore(new Uint8Array()), /need the module astreum-full\.wasm/);
    small.free();
});

test("errors have positions and limits are reported", () => {
    const machine = astreum.machine({ limits: { steps: 10000 } });
    const env = astreum.env();
    const source = "(1 2 ((\n  $0 add $1) sk))";
    const [failure] = machine.eval(source, env).failures;
    assert.equal(source.slice(failure.span.start, failure.span.end), "add");
    assert.deepEqual(failure.stack, { token: 1, opcode: "add", depth: 1 });
    const endless = machine.evalAll("(((x loop) (x) fn) loop def) (1 loop)", env);
    assert.deepEqual([endless.kind, endless.limit.kind], ["limit", "steps"]);
    assert.throws(() => astreum.parse("(1 (2"), { line: 1, column: 6, isIncomplete: true });
    assert.equal(machine.eval("(1", env).parseError.kind, "expected close");
    const tight = { steps: 3, depth: 0, stackItems: 1, liveBytes: 10 };
    for (const [name, limit] of Object.entries(tight)) {
        const low = astreum.machine({ limits: { [name]: limit } });
        const outcome = low.eval("((1 2 (($0 $1 add) sk)) (((x) (x) fn)))", env);
        assert.ok(["limit", "finished"].includes(outcome.kind));
        low.free();
    }
    env.free();
    machine.free();
});

test("memory does not grow", () => {
    const machine = astreum.machine();
    const env = astreum.env();
    const run = () => {
        for (let count = 0; count < 2000; count += 1) {
            machine.eval("((1 2 (($0 $1 add) sk)) missing)", env);
        }
        return astreum.abi.memory.buffer.byteLength;
    };
    const before = run();
    assert.equal(run(), before);
    env.free();
    machine.free();
});
