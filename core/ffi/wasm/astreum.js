// Machine of Astreum in JavaScript, on the C ABI of the WebAssembly module `astreum.wasm`.
//
// Values: bytes are `Uint8Array`, symbols are `AstreumSymbol`, lists are arrays. Amounts, such as
// charges and limits, are `bigint`.

const OK = 0;
const NOT_FOUND = 10;
const METER_LIMIT = 13;
const ABI_VERSION = 0x0001_0000;
const UNLIMITED = 0xffff_ffff_ffff_ffffn;
const ID_BYTES = 32;

const OUTCOMES = ["finished", "limit", "interrupted", "missing", "host error", "suspended"];
const REASONS = [null, "slice", "interrupted", "missing", "meter", "host function", "host error"];
const LIMITS = [null, "meter", "depth", "stackItems", "heapEntries", "liveBytes", "steps", "atoms",
    "atomBytes"];
const LIMIT_FIELDS = ["depth", "stackItems", "heapEntries", "liveBytes", "steps", "atoms",
    "atomBytes"];
const ORIGINS = ["unknown", "read", "write", "function"];
const PARSE_ERRORS = [null, "unterminated string", "bad escape", "unexpected close",
    "expected close", "unexpected end", "trailing tokens"];

const encoder = new TextEncoder();
// A byte order mark is part of a symbol, not a mark.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Symbol of the language: a name. */
export class AstreumSymbol {
    constructor(name) {
        this.name = String(name);
        Object.freeze(this);
    }
}

/** Creates a symbol. */
export const symbol = (name) => new AstreumSymbol(name);

/** Creates the bytes of an integer: signed, big-endian, shortest form. */
export function integer(number) {
    let rest = BigInt(number);
    const bytes = [];
    do {
        bytes.unshift(Number(rest & 0xffn));
        rest >>= 8n;
    } while (!((rest === 0n && bytes[0] < 0x80) || (rest === -1n && bytes[0] >= 0x80)));
    return Uint8Array.from(bytes);
}

/** Returns the integer that bytes stand for. */
export function toInteger(bytes) {
    if (!(bytes instanceof Uint8Array)) {
        throw new TypeError("not bytes");
    }
    const unsigned = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    return BigInt.asIntN(bytes.length * 8, unsigned);
}

/** Creates the bytes of a text. */
export const text = (string) => encoder.encode(string);

/** Creates an error value, which a host function may return for the program to handle. */
export const errorValue = (topic, message) => [symbol("error"), text(topic), text(message)];

/** Error of the library: it was used in a wrong way, or a source or image is malformed. */
export class AstreumError extends Error {
    constructor(status, message, details = {}) {
        super(message);
        this.name = "AstreumError";
        this.status = status;
        Object.assign(this, details);
    }
}

/** Loaded module. Machines of one module share its memory. */
export class Astreum {
    #callbacks = new Map();
    #nextCallback = 1;
    #failures = new Map();
    #nextFailure = 1n;

    /**
     * Loads the module: `source` is its bytes, a `WebAssembly.Module`, a `Response` or a promise of
     * one of them; by default the file `astreum.wasm` beside this one.
     */
    static async load(source) {
        const astreum = new Astreum();
        const imports = { host: astreum.#imports() };
        let module = await (source ?? readModule());
        if (typeof Response !== "undefined" && module instanceof Response) {
            module = await module.arrayBuffer();
        }
        const instance = module instanceof WebAssembly.Module
            ? await WebAssembly.instantiate(module, imports)
            : (await WebAssembly.instantiate(module, imports)).instance;
        astreum.abi = instance.exports;
        astreum.check(astreum.abi.astreum_abi_check(ABI_VERSION));
        // Place for results, and for one struct.
        astreum.scratch = astreum.allocate(256);
        return astreum;
    }

    /** Creates a machine. */
    machine(options) {
        return new Machine(this, options);
    }

    /** Creates an environment, with bindings from names to values. */
    env(bindings = {}) {
        const env = new Env(this, this.handle("astreum_env_new"));
        for (const [name, value] of Object.entries(bindings)) {
            env.set(name, value);
        }
        return env;
    }

    /** Parses a source of exactly one expression. */
    parse(source) {
        return this.withBytes(source, (data, len) => {
            const error = this.struct(72, 64);
            const status = this.abi.astreum_value_parse(data, len, this.scratch, error);
            this.checkParsed(status, error);
            return this.takeValue(this.view().getUint32(this.scratch, true));
        });
    }

    /** Parses the first expression of a source; returns it and the text after it. */
    parseFirst(source) {
        const bytes = encoder.encode(source);
        return this.withBytes(bytes, (data, len) => {
            const [out, end, error] = [this.scratch, this.scratch + 4, this.struct(72, 64)];
            const status = this.abi.astreum_value_parse_first(data, len, out, end, error);
            if (status === NOT_FOUND) {
                return null;
            }
            this.checkParsed(status, error);
            const after = this.view().getUint32(end, true);
            const value = this.takeValue(this.view().getUint32(out, true));
            return { value, rest: decoder.decode(bytes.subarray(after)) };
        });
    }

    /** Splits a source into tokens, without white space and comments: `{ type, start, end }`. */
    tokens(source) {
        return this.withBytes(source, (data, len) => {
            const error = this.struct(72, 64);
            const status = this.abi.astreum_tokens_new(data, len, this.scratch, error);
            this.checkParsed(status, error);
            const tokens = this.view().getUint32(this.scratch, true);
            const [array, count] = [this.scratch, this.scratch + 4];
            this.check(this.abi.astreum_tokens_array(tokens, array, count));
            const view = this.view();
            const start = view.getUint32(array, true);
            const found = [];
            for (let index = 0; index < view.getUint32(count, true); index += 1) {
                const at = start + index * 12;
                found.push({
                    type: ["open", "close", "string", "atom"][view.getUint32(at, true)],
                    start: view.getUint32(at + 4, true),
                    end: view.getUint32(at + 8, true),
                });
            }
            this.check(this.abi.astreum_tokens_free(tokens));
            return found;
        });
    }

    /** Prints a value for people. */
    print(value, maxBytes = 1 << 20) {
        return this.withValue(value, (handle) => {
            this.check(this.abi.astreum_value_print(handle, maxBytes, this.scratch));
            return decoder.decode(this.takeBuffer(this.view().getUint32(this.scratch, true)));
        });
    }

    /** Computes the id of a value: that of the first of its atoms. */
    id(value) {
        return this.withValue(value, (handle) => {
            this.check(this.abi.astreum_value_id(handle, this.scratch));
            return this.copy(this.scratch, ID_BYTES);
        });
    }

    /** Computes the id of an atom from its stored form, `next (32) ‖ kind (1) ‖ data`. */
    atomId(stored) {
        return this.withBytes(stored.subarray(ID_BYTES + 1), (data, len) =>
            this.withBytes(stored.subarray(0, ID_BYTES), (next) => {
                this.check(
                    this.abi.astreum_atom_id(stored[ID_BYTES] ?? 255, data, len, next, this.scratch),
                );
                return this.copy(this.scratch, ID_BYTES);
            }));
    }

    // What follows is for the classes of this file.

    #imports() {
        return {
            call_function: (user, handle) => {
                const call = new HostCall(this, handle);
                try {
                    const value = this.#callbacks.get(user)(call);
                    if (value !== undefined) {
                        call.answer(value);
                    }
                } catch (error) {
                    if (error !== METER_REFUSED) {
                        call.fail(error);
                    }
                }
                call.close();
            },
            get_atom: (user, id, lookup) => {
                try {
                    const stored = this.#callbacks.get(user).get(this.copy(id, ID_BYTES));
                    if (stored) {
                        // A wrong atom counts as missing.
                        this.withBytes(stored, (data, len) =>
                            this.abi.astreum_lookup_found(lookup, data, len));
                    }
                } catch (error) {
                    const code = this.keep(error);
                    this.withBytes(String(error), (data, len) =>
                        this.abi.astreum_lookup_fail(lookup, code, data, len));
                }
            },
            put_atom: (user, id, data, len) => {
                try {
                    this.#callbacks.get(user).put(this.copy(id, ID_BYTES), this.copy(data, len));
                    return 0;
                } catch (error) {
                    return Number(this.keep(error) & 0xffff_ffffn);
                }
            },
            drop_user: (user) => this.#callbacks.delete(user),
        };
    }

    /** Keeps a callback until the module drops it. */
    addCallback(callback) {
        const number = this.#nextCallback;
        this.#nextCallback += 1;
        this.#callbacks.set(number, callback);
        return number;
    }

    /** Keeps an error of the host until the outcome is read. */
    keep(error) {
        const code = this.#nextFailure;
        this.#nextFailure += 1n;
        this.#failures.set(code, error);
        // Errors of evaluations that were dropped.
        if (this.#failures.size > 64) {
            this.#failures.delete(this.#failures.keys().next().value);
        }
        return code;
    }

    takeFailure(code) {
        const error = this.#failures.get(code);
        this.#failures.delete(code);
        return error;
    }

    view() {
        return new DataView(this.abi.memory.buffer);
    }

    copy(pointer, len) {
        return new Uint8Array(this.abi.memory.buffer, pointer, len).slice();
    }

    /** Copies the bytes of an `AstreumSlice`. */
    slice(pointer) {
        const view = this.view();
        return this.copy(view.getUint32(pointer, true), view.getUint32(pointer + 4, true));
    }

    allocate(len) {
        const pointer = this.abi.astreum_wasm_alloc(len);
        if (pointer === 0) {
            throw new RangeError(`out of memory: ${len} bytes`);
        }
        return pointer;
    }

    check(status) {
        if (status !== OK) {
            throw new AstreumError(status, this.message(status));
        }
    }

    message(status) {
        const start = this.abi.astreum_status_message(status);
        const bytes = new Uint8Array(this.abi.memory.buffer);
        return decoder.decode(bytes.slice(start, bytes.indexOf(0, start)));
    }

    checkParsed(status, error) {
        const details = status === 11 ? this.parseError(error) : {};
        if (status !== OK) {
            throw new AstreumError(status, details.message ?? this.message(status), details);
        }
    }

    parseError(at) {
        const view = this.view();
        const number = (offset) => Number(view.getBigUint64(at + offset, true));
        const place = (offset) => ({
            offset: number(offset),
            line: number(offset + 8),
            column: number(offset + 16),
        });
        return {
            kind: PARSE_ERRORS[view.getUint32(at + 8, true)] ?? "unknown",
            isIncomplete: view.getUint8(at + 12) !== 0,
            ...place(16),
            open: view.getUint8(at + 13) !== 0 ? place(40) : null,
            message: decoder.decode(this.slice(at + 64)),
        };
    }

    /** Prepares the struct of this size in the scratch memory. */
    struct(size, offset = 0) {
        this.view().setBigUint64(this.scratch + offset, BigInt(size), true);
        return this.scratch + offset;
    }

    /** Calls a function whose last argument is the place for a handle, and returns that. */
    handle(name, ...args) {
        this.check(this.abi[name](...args, this.scratch));
        return this.view().getUint32(this.scratch, true);
    }

    withBytes(data, use) {
        const bytes = typeof data === "string" ? encoder.encode(data) : data;
        const pointer = this.allocate(bytes.length);
        try {
            new Uint8Array(this.abi.memory.buffer, pointer, bytes.length).set(bytes);
            return use(pointer, bytes.length);
        } finally {
            this.abi.astreum_wasm_free(pointer, bytes.length);
        }
    }

    /** Parses all expressions of a source, for the time of a function. */
    withScript(source, use) {
        return this.withBytes(source, (data, len) => {
            const error = this.struct(72, 64);
            this.checkParsed(
                this.abi.astreum_script_new(data, len, this.scratch, error), error);
            const script = this.view().getUint32(this.scratch, true);
            try {
                return use(script);
            } finally {
                this.check(this.abi.astreum_script_free(script));
            }
        });
    }

    /** Passes a value to the module for the time of a function. */
    withValue(value, use) {
        const handle = this.newValue(value);
        try {
            return use(handle);
        } finally {
            this.check(this.abi.astreum_value_free(handle));
        }
    }

    withValues(values, use) {
        const handles = [];
        try {
            for (const value of values) {
                handles.push(this.newValue(value));
            }
            return this.withHandles(handles, use);
        } finally {
            for (const handle of handles) {
                this.check(this.abi.astreum_value_free(handle));
            }
        }
    }

    withHandles(handles, use) {
        return this.withBytes(new Uint8Array(Uint32Array.from(handles).buffer), use);
    }

    /** Creates a value of the module. Does not recurse, because values can be nested deeply. */
    newValue(root) {
        const open = [{ items: [root], handles: [] }];
        try {
            for (;;) {
                const top = open.at(-1);
                if (top.handles.length === top.items.length) {
                    if (open.length === 1) {
                        return top.handles.pop();
                    }
                    const list = this.withHandles(top.handles, (data, len) =>
                        this.handle("astreum_value_list", data, len / 4));
                    this.#freeAll(top.handles.splice(0));
                    open.pop();
                    open.at(-1).handles.push(list);
                    continue;
                }
                const item = top.items[top.handles.length];
                if (Array.isArray(item)) {
                    open.push({ items: item, handles: [] });
                } else {
                    top.handles.push(this.#newLeaf(item));
                }
            }
        } finally {
            // Empty unless a value was refused.
            open.forEach(({ handles }) => this.#freeAll(handles));
        }
    }

    #freeAll(handles) {
        for (const handle of handles) {
            this.check(this.abi.astreum_value_free(handle));
        }
    }

    #newLeaf(value) {
        if (value instanceof AstreumSymbol) {
            return this.withBytes(value.name, (data, len) =>
                this.handle("astreum_value_symbol", data, len));
        }
        let bytes = value;
        if (typeof value === "bigint" || Number.isSafeInteger(value)) {
            bytes = integer(value);
        } else if (typeof value === "string") {
            bytes = encoder.encode(value);
        } else if (!(value instanceof Uint8Array)) {
            throw new TypeError(
                "a value is a Uint8Array, an integer, a string, a symbol or an array of values",
            );
        }
        return this.withBytes(bytes, (data, len) => this.handle("astreum_value_bytes", data, len));
    }

    /** Converts a value of the module and frees it. Does not recurse. */
    takeValue(root) {
        const result = [];
        const pending = [{ handle: root, into: result }];
        while (pending.length > 0) {
            const { handle, into } = pending.pop();
            this.check(this.abi.astreum_value_type(handle, this.scratch));
            const type = this.view().getUint32(this.scratch, true);
            if (type === 2) {
                const list = [];
                into.push(list);
                this.check(this.abi.astreum_value_len(handle, this.scratch));
                const len = this.view().getUint32(this.scratch, true);
                // The last item is converted first, because the stack is reversed.
                for (let index = len - 1; index >= 0; index -= 1) {
                    const item = this.handle("astreum_value_item", handle, index);
                    pending.push({ handle: item, into: list });
                }
            } else {
                this.check(this.abi.astreum_value_data(handle, this.scratch));
                const bytes = this.slice(this.scratch);
                into.push(type === 0 ? new AstreumSymbol(decoder.decode(bytes)) : bytes);
            }
            this.check(this.abi.astreum_value_free(handle));
        }
        return result[0];
    }

    takeBuffer(handle) {
        this.check(this.abi.astreum_buffer_bytes(handle, this.scratch));
        const bytes = this.slice(this.scratch);
        this.check(this.abi.astreum_buffer_free(handle));
        return bytes;
    }

    /** Reads an `AstreumOutcomeInfo`. */
    info(name, handle) {
        const at = this.struct(104);
        this.check(this.abi[name](handle, at));
        const view = this.view();
        const kind = OUTCOMES[view.getUint32(at + 8, true)] ?? "unknown";
        const reason = REASONS[view.getUint32(at + 12, true)] ?? null;
        const limitKind = LIMITS[view.getUint32(at + 32, true)] ?? null;
        const isMissing = kind === "missing" || reason === "missing";
        return {
            kind,
            reason,
            used: view.getBigUint64(at + 16, true),
            steps: view.getBigUint64(at + 24, true),
            limit: limitKind === null ? null : {
                kind: limitKind,
                limit: view.getBigUint64(at + 40, true),
                used: view.getBigUint64(at + 48, true),
            },
            missing: isMissing
                ? { id: this.copy(at + 56, ID_BYTES), list: view.getUint8(at + 36) !== 0 }
                : null,
            hasParseError: view.getUint8(at + 37) !== 0,
            failureCount: view.getBigUint64(at + 88, true),
            failures: Number(view.getBigUint64(at + 96, true)),
        };
    }
}

/** Thrown in a host function when the meter refuses its charge. */
const METER_REFUSED = Symbol("meter refused");

/** Call of a host function. */
class HostCall {
    #astreum;
    #handle;

    constructor(astreum, handle) {
        this.#astreum = astreum;
        this.#handle = handle;
        astreum.check(astreum.abi.astreum_call_name(handle, astreum.scratch));
        this.name = decoder.decode(astreum.slice(astreum.scratch));
        astreum.check(astreum.abi.astreum_call_len(handle, astreum.scratch));
        const count = astreum.view().getUint32(astreum.scratch, true);
        this.args = Array.from({ length: count }, (_, index) =>
            astreum.takeValue(astreum.handle("astreum_call_argument", handle, index)));
    }

    /** Charges `cost`; ends the function if the meter refuses. Charge before any other effect. */
    charge(cost) {
        const status = this.#astreum.abi.astreum_call_charge(this.#open(), BigInt(cost));
        if (status === METER_LIMIT) {
            throw METER_REFUSED;
        }
        this.#astreum.check(status);
    }

    /** Lets the evaluation wait until the host answers. */
    suspend() {
        this.#astreum.check(this.#astreum.abi.astreum_call_suspend(this.#open()));
    }

    answer(value) {
        this.#astreum.withValue(value, (handle) =>
            this.#astreum.check(this.#astreum.abi.astreum_call_return(this.#open(), handle)));
    }

    fail(error) {
        const code = this.#astreum.keep(error);
        this.#astreum.withBytes(String(error), (data, len) =>
            this.#astreum.check(
                this.#astreum.abi.astreum_call_fail(this.#open(), code, data, len)));
    }

    close() {
        this.#handle = 0;
    }

    #open() {
        if (this.#handle === 0) {
            throw new Error("the host function has returned");
        }
        return this.#handle;
    }
}

/** Environment: names and values. */
class Env {
    constructor(astreum, handle) {
        this.astreum = astreum;
        this.pointer = handle;
    }

    set(name, value) {
        this.astreum.withBytes(name, (data, len) => this.astreum.withValue(value, (handle) =>
            this.astreum.check(
                this.astreum.abi.astreum_env_set(this.pointer, data, len, handle))));
    }

    /** Returns the value that a name is bound to, or `undefined`. */
    get(name) {
        return this.astreum.withBytes(name, (data, len) => {
            const { abi, scratch } = this.astreum;
            const status = abi.astreum_env_get(this.pointer, data, len, scratch);
            if (status === NOT_FOUND) {
                return undefined;
            }
            this.astreum.check(status);
            return this.astreum.takeValue(this.astreum.view().getUint32(scratch, true));
        });
    }

    free() {
        this.astreum.check(this.astreum.abi.astreum_env_free(this.pointer));
        this.pointer = 0;
    }
}

/** Virtual machine. */
class Machine {
    constructor(astreum, { limits, meterLimit, slice, store } = {}) {
        this.astreum = astreum;
        const at = astreum.struct(64, 64);
        astreum.check(astreum.abi.astreum_limits_default(at));
        for (const [name, limit] of Object.entries(limits ?? {})) {
            const index = LIMIT_FIELDS.indexOf(name);
            if (index < 0) {
                throw new TypeError(`unknown limit ${name}`);
            }
            astreum.view().setBigUint64(at + 8 + index * 8, BigInt(limit), true);
        }
        this.pointer = astreum.handle("astreum_machine_new", ABI_VERSION, at);
        this.setMeterLimit(meterLimit);
        this.setSlice(slice);
        if (store) {
            const user = astreum.addCallback(store);
            astreum.check(
                astreum.abi.astreum_wasm_set_store(this.pointer, user, store.put ? 1 : 0));
        }
    }

    /** Sets the limit of the meter of evaluations that start from now on; by default none. */
    setMeterLimit(limit) {
        const { abi } = this.astreum;
        this.astreum.check(
            abi.astreum_machine_set_meter_limit(this.pointer, BigInt(limit ?? UNLIMITED)));
    }

    /** Sets the steps after which evaluations that can be suspended are; by default none. */
    setSlice(steps) {
        const { abi } = this.astreum;
        this.astreum.check(
            abi.astreum_machine_set_slice(this.pointer, BigInt(steps ?? UNLIMITED)));
    }

    /**
     * Binds a name to a function of the host. It gets a call with `args` and `charge`, and returns a
     * value, throws, or calls `call.suspend()` and returns nothing.
     */
    bind(name, callback) {
        const { abi } = this.astreum;
        const user = this.astreum.addCallback(callback);
        this.astreum.withBytes(name, (data, len) =>
            this.astreum.check(abi.astreum_wasm_bind(this.pointer, data, len, user)));
    }

    /** Keeps an atom, given by its stored form, and returns its id. */
    putAtom(stored) {
        const { abi, scratch } = this.astreum;
        return this.astreum.withBytes(stored, (data, len) => {
            this.astreum.check(abi.astreum_machine_put_atom(this.pointer, data, len, scratch));
            return this.astreum.copy(scratch, ID_BYTES);
        });
    }

    /** Returns the stored form of an atom, or `undefined`. */
    getAtom(id) {
        const { abi, scratch } = this.astreum;
        return this.astreum.withBytes(id, (data) => {
            const status = abi.astreum_machine_get_atom(this.pointer, data, scratch);
            if (status === NOT_FOUND) {
                return undefined;
            }
            this.astreum.check(status);
            return this.astreum.takeBuffer(this.astreum.view().getUint32(scratch, true));
        });
    }

    /** Stores the atoms of a value, and returns its id. */
    writeValue(value) {
        const { abi, scratch } = this.astreum;
        return this.astreum.withValue(value, (handle) => {
            this.astreum.check(abi.astreum_machine_write_value(this.pointer, handle, scratch));
            return this.astreum.copy(scratch, ID_BYTES);
        });
    }

    /** Reads the value with this id from at most `maxAtoms` atoms. */
    readValue(id, maxAtoms = 1 << 20) {
        return this.astreum.withBytes(id, (data) => {
            const { abi, scratch } = this.astreum;
            this.astreum.check(
                abi.astreum_machine_read_value(this.pointer, data, maxAtoms, scratch, 0));
            return this.astreum.takeValue(this.astreum.view().getUint32(scratch, true));
        });
    }

    /** Evaluates a source of exactly one expression. With `suspend`, the outcome may be suspended. */
    eval(source, env, { suspend = false } = {}) {
        return this.astreum.withBytes(source, (data, len) =>
            this.outcome("astreum_machine_eval", env.pointer, data, len, Number(suspend)));
    }

    /** Evaluates all expressions of a source in order, as one evaluation. */
    evalAll(source, env, { suspend = false } = {}) {
        return this.astreum.withScript(source, (script) =>
            this.outcome("astreum_machine_eval_script", env.pointer, script, Number(suspend)));
    }

    /** Evaluates a value. */
    evalValue(value, env, { suspend = false } = {}) {
        return this.astreum.withValue(value, (handle) =>
            this.outcome("astreum_machine_eval_value", env.pointer, handle, Number(suspend)));
    }

    /** Calls a function or stack program by name, with values. */
    call(name, args, env, { suspend = false } = {}) {
        return this.astreum.withBytes(name, (data, len) =>
            this.astreum.withValues(args, (values, bytes) =>
                this.outcome("astreum_machine_call", env.pointer, data, len, values, bytes / 4,
                    Number(suspend))));
    }

    /** Runs a stack program without the evaluator: tokens as bytes. */
    run(tokens) {
        const { astreum } = this;
        const all = Uint8Array.from(tokens.flatMap((token) => [...token]));
        return astreum.withBytes(all, (data) => {
            let at = data;
            const slices = tokens.flatMap((token) => {
                const slice = [at, token.length];
                at += token.length;
                return slice;
            });
            return astreum.withHandles(slices, (pointer) =>
                this.outcome("astreum_machine_run", pointer, tokens.length, 0));
        });
    }

    /** Resumes a suspended evaluation, in the environment in which it was started. */
    resume(suspension, env, { suspend = true } = {}) {
        const outcome = this.outcome(
            "astreum_machine_resume", env.pointer, suspension.pointer, Number(suspend));
        suspension.pointer = 0;
        return outcome;
    }

    /** Restores a suspension from bytes; returns it and its environment. Needs `astreum-full.wasm`. */
    restore(bytes) {
        const { astreum } = this;
        requireBytes(astreum);
        return astreum.withBytes(bytes, (data, len) => {
            const [suspension, env] = [astreum.scratch, astreum.scratch + 4];
            astreum.check(
                astreum.abi.astreum_machine_restore(this.pointer, data, len, suspension, env));
            const view = astreum.view();
            return {
                suspension: new Suspension(astreum, view.getUint32(suspension, true)),
                env: new Env(astreum, view.getUint32(env, true)),
            };
        });
    }

    /**
     * Evaluates a source to its end, and waits for what it needs: `fetchAtom(id)` returns the stored
     * form of an atom, or nothing, or a promise of one of them; `answer(name, args)` does the same for
     * the value of a host function that suspended. After each slice other tasks run.
     */
    async evalAsync(source, env, { fetchAtom, answer } = {}) {
        let outcome = this.eval(source, env, { suspend: true });
        while (outcome.kind === "suspended") {
            const { suspension } = outcome;
            if (outcome.reason === "slice") {
                await new Promise((resolve) => setTimeout(resolve, 0));
            } else if (outcome.reason === "missing" && fetchAtom) {
                const stored = await fetchAtom(outcome.missing.id);
                if (stored) {
                    this.putAtom(stored);
                } else {
                    suspension.refuse();
                }
            } else if (outcome.reason === "host function" && answer) {
                const { name, args } = suspension.call();
                try {
                    suspension.answer(await answer(name, args));
                } catch (error) {
                    suspension.fail(error);
                }
            } else {
                return this.resume(suspension, env, { suspend: false });
            }
            outcome = this.resume(suspension, env);
        }
        return outcome;
    }

    /** Frees the machine. */
    free() {
        this.astreum.check(this.astreum.abi.astreum_machine_free(this.pointer));
        this.pointer = 0;
    }

    /** Calls a function of the module that returns an outcome; not only for this file. */
    outcome(name, ...args) {
        const handle = this.astreum.handle(name, this.pointer, ...args);
        try {
            return readOutcome(this.astreum, handle);
        } finally {
            this.astreum.check(this.astreum.abi.astreum_outcome_free(handle));
        }
    }
}

/** Suspended evaluation. */
class Suspension {
    constructor(astreum, handle) {
        this.astreum = astreum;
        this.pointer = handle;
    }

    /** Returns the reason, charge and steps so far. */
    info() {
        return this.astreum.info("astreum_suspension_info", this.pointer);
    }

    /** Raises the limit of the meter. */
    grant(amount) {
        this.astreum.check(
            this.astreum.abi.astreum_suspension_grant(this.pointer, BigInt(amount)));
    }

    /** Decides that what it waits for will not be available. */
    refuse() {
        this.astreum.check(this.astreum.abi.astreum_suspension_refuse(this.pointer));
    }

    /** Returns name and arguments of the host function that it waits for. */
    call() {
        const { astreum } = this;
        const [name, count] = [astreum.scratch, astreum.scratch + 8];
        astreum.check(astreum.abi.astreum_suspension_call(this.pointer, name, count));
        const called = decoder.decode(astreum.slice(name));
        const len = astreum.view().getUint32(count, true);
        const args = Array.from({ length: len }, (_, index) =>
            astreum.takeValue(
                astreum.handle("astreum_suspension_argument", this.pointer, index)));
        return { name: called, args };
    }

    /** Supplies the value of the host function that it waits for. */
    answer(value) {
        this.astreum.withValue(value, (handle) =>
            this.astreum.check(
                this.astreum.abi.astreum_suspension_answer(this.pointer, handle)));
    }

    /** Supplies an error in place of that value. */
    fail(error) {
        const code = this.astreum.keep(error);
        this.astreum.withBytes(String(error), (data, len) =>
            this.astreum.check(
                this.astreum.abi.astreum_suspension_fail(this.pointer, code, data, len)));
    }

    /** Serializes the evaluation with its environment. Needs `astreum-full.wasm`. */
    toBytes(env) {
        requireBytes(this.astreum);
        return this.astreum.takeBuffer(
            this.astreum.handle("astreum_suspension_serialize", this.pointer, env.pointer));
    }

    /** Frees the suspension, which ends the evaluation. */
    free() {
        this.astreum.check(this.astreum.abi.astreum_suspension_free(this.pointer));
        this.pointer = 0;
    }
}

/** Throws an error if the module has no suspensions as bytes. */
function requireBytes(astreum) {
    if (!astreum.abi.astreum_machine_restore) {
        throw new Error("suspensions as bytes need the module astreum-full.wasm; "
            + "pass it to Astreum.load");
    }
}

/** Reads an outcome of the module. */
function readOutcome(astreum, handle) {
    const outcome = astreum.info("astreum_outcome_info", handle);
    outcome.failures = Array.from({ length: outcome.failures }, (_, index) =>
        readFailure(astreum, handle, index));
    const at = astreum.struct(40);
    if (astreum.abi.astreum_outcome_host_error(handle, at) === OK) {
        const code = astreum.view().getBigUint64(at + 16, true);
        const message = decoder.decode(astreum.slice(at + 24));
        outcome.hostError = {
            origin: ORIGINS[astreum.view().getUint32(at + 8, true)] ?? "unknown",
            function: decoder.decode(astreum.slice(at + 32)),
            message,
            error: astreum.takeFailure(code) ?? new Error(message),
        };
    } else {
        outcome.hostError = null;
    }
    outcome.parseError = null;
    if (outcome.hasParseError) {
        const error = astreum.struct(72);
        astreum.check(astreum.abi.astreum_outcome_parse_error(handle, error));
        outcome.parseError = astreum.parseError(error);
    }
    delete outcome.hasParseError;
    outcome.value = null;
    outcome.suspension = null;
    if (outcome.kind === "suspended") {
        outcome.suspension = new Suspension(
            astreum, astreum.handle("astreum_outcome_take_suspension", handle));
    } else {
        outcome.value = astreum.takeValue(astreum.handle("astreum_outcome_value", handle));
    }
    return outcome;
}

/** Reads an `AstreumFailure`. */
function readFailure(astreum, handle, index) {
    const at = astreum.struct(96);
    astreum.check(astreum.abi.astreum_outcome_failure(handle, index, at));
    const view = astreum.view();
    const number = (offset) => Number(view.getBigUint64(at + offset, true));
    const string = (offset) => decoder.decode(astreum.slice(at + offset));
    return {
        topic: string(16),
        message: string(24),
        symbol: string(32) || null,
        isCall: view.getUint8(at + 12) !== 0,
        stack: view.getUint8(at + 13) !== 0
            ? { token: number(40), opcode: string(48) || null, depth: number(56) }
            : null,
        span: view.getUint8(at + 14) !== 0 ? { start: number(64), end: number(72) } : null,
    };
}

/** Reads the module beside this file. */
async function readModule() {
    const url = new URL("astreum.wasm", import.meta.url);
    if (url.protocol === "file:") {
        const { readFile } = await import("node:fs/promises");
        return readFile(url);
    }
    return fetch(url);
}
