/** Symbol of the language: a name. */
export class AstreumSymbol {
    readonly name: string;
    constructor(name: string);
}

/** Value of a program: bytes, a symbol, or a list of values. */
export type Value = Uint8Array | AstreumSymbol | Value[];

/** Value that is passed in; integers and strings become bytes. */
export type Input = Uint8Array | AstreumSymbol | bigint | number | string | Input[];

export function symbol(name: string): AstreumSymbol;
/** Creates the bytes of an integer: signed, big-endian, shortest form. */
export function integer(number: bigint | number): Uint8Array;
/** Returns the integer that bytes stand for. */
export function toInteger(bytes: Value): bigint;
/** Creates the bytes of a text. */
export function text(string: string): Uint8Array;
/** Creates an error value, which a host function may return for the program to handle. */
export function errorValue(topic: string, message: string): Value;

/** Error of the library: it was used in a wrong way, or a source or image is malformed. */
export class AstreumError extends Error {
    readonly status: number;
    readonly offset?: number;
    readonly line?: number;
    readonly column?: number;
    readonly isIncomplete?: boolean;
}

export interface Limits {
    depth?: bigint | number;
    stackItems?: bigint | number;
    heapEntries?: bigint | number;
    liveBytes?: bigint | number;
    steps?: bigint | number;
    atoms?: bigint | number;
    atomBytes?: bigint | number;
}

/** Store of the host. An exception ends or suspends the evaluation. */
export interface Store {
    get(id: Uint8Array): Uint8Array | undefined | null;
    put?(id: Uint8Array, stored: Uint8Array): void;
}

export interface MachineOptions {
    limits?: Limits;
    meterLimit?: bigint | number;
    slice?: bigint | number;
    store?: Store;
}

export interface EvalOptions {
    /** Suspends the evaluation when it cannot continue immediately. */
    suspend?: boolean;
}

export interface Missing {
    id: Uint8Array;
    /** Whether the whole list that starts with the atom is needed. */
    list: boolean;
}

export interface Exceeded {
    kind: "meter" | "depth" | "stackItems" | "heapEntries" | "liveBytes" | "steps" | "atoms"
        | "atomBytes";
    limit: bigint;
    used: bigint;
}

export type Reason = "slice" | "interrupted" | "missing" | "meter" | "host function" | "host error";

export interface ParseErrorDetails {
    kind: string;
    message: string;
    offset: number;
    line: number;
    column: number;
    isIncomplete: boolean;
    /** Innermost `(` that is not closed. */
    open: { offset: number; line: number; column: number } | null;
}

/** Error that the machine raised, with its position. */
export interface Failure {
    topic: string;
    message: string;
    /** Unbound symbol. */
    symbol: string | null;
    isCall: boolean;
    stack: { token: number; opcode: string | null; depth: number } | null;
    /** Bytes in the source in UTF-8. */
    span: { start: number; end: number } | null;
}

export interface HostError {
    origin: "read" | "write" | "function" | "unknown";
    function: string;
    message: string;
    /** What the host threw. */
    error: unknown;
}

export interface Info {
    kind: "finished" | "limit" | "interrupted" | "missing" | "host error" | "suspended" | "unknown";
    reason: Reason | null;
    used: bigint;
    steps: bigint;
    limit: Exceeded | null;
    missing: Missing | null;
    failureCount: bigint;
}

export interface Outcome extends Info {
    /** Value; null if the evaluation is suspended. */
    value: Value | null;
    suspension: Suspension | null;
    failures: Failure[];
    hostError: HostError | null;
    parseError: ParseErrorDetails | null;
}

/** Call of a host function; valid until the function returns. */
export interface HostCall {
    readonly name: string;
    readonly args: Value[];
    /** Charges the meter; ends the function if it refuses. */
    charge(cost: bigint | number): void;
    /** Lets the evaluation wait until the host answers. */
    suspend(): void;
}

export interface AsyncOptions {
    /** Returns the stored form of an atom, `next (32) ‖ kind (1) ‖ data`, or nothing. */
    fetchAtom?(id: Uint8Array): Promise<Uint8Array | undefined> | Uint8Array | undefined;
    /** Returns the value of a host function that suspended. */
    answer?(name: string, args: Value[]): Promise<Input> | Input;
}

export interface Token {
    type: "open" | "close" | "string" | "atom";
    /** Bytes in the source in UTF-8. */
    start: number;
    end: number;
}

export class Astreum {
    static load(
        source?: BufferSource | WebAssembly.Module | Response
            | Promise<BufferSource | WebAssembly.Module | Response>,
    ): Promise<Astreum>;
    machine(options?: MachineOptions): Machine;
    env(bindings?: Record<string, Input>): Env;
    parse(source: string): Value;
    parseFirst(source: string): { value: Value; rest: string } | null;
    tokens(source: string): Token[];
    print(value: Input, maxBytes?: number): string;
    id(value: Input): Uint8Array;
    atomId(stored: Uint8Array): Uint8Array;
}

export interface Env {
    set(name: string, value: Input): void;
    get(name: string): Value | undefined;
    free(): void;
}

export interface Machine {
    setMeterLimit(limit?: bigint | number): void;
    setSlice(steps?: bigint | number): void;
    bind(name: string, callback: (call: HostCall) => Input | undefined | void): void;
    putAtom(stored: Uint8Array): Uint8Array;
    getAtom(id: Uint8Array): Uint8Array | undefined;
    writeValue(value: Input): Uint8Array;
    readValue(id: Uint8Array, maxAtoms?: number): Value;
    eval(source: string, env: Env, options?: EvalOptions): Outcome;
    evalAll(source: string, env: Env, options?: EvalOptions): Outcome;
    evalValue(value: Input, env: Env, options?: EvalOptions): Outcome;
    evalAsync(source: string, env: Env, options?: AsyncOptions): Promise<Outcome>;
    call(name: string, args: Input[], env: Env, options?: EvalOptions): Outcome;
    run(tokens: Uint8Array[]): Outcome;
    /** Consumes the suspension. */
    resume(suspension: Suspension, env: Env, options?: EvalOptions): Outcome;
    /** Needs the module `astreum-full.wasm`. */
    restore(bytes: Uint8Array): { suspension: Suspension; env: Env };
    free(): void;
}

export interface Suspension {
    info(): Info;
    grant(amount: bigint | number): void;
    refuse(): void;
    call(): { name: string; args: Value[] };
    answer(value: Input): void;
    fail(error: unknown): void;
    /** Needs the module `astreum-full.wasm`. */
    toBytes(env: Env): Uint8Array;
    free(): void;
}
