// The page's side of the worker. A worker that was stopped is replaced by a new one.

/** Reason a task has no result: the worker was stopped. */
export class Stopped extends Error {}

export class Client {
    #module;
    #worker = null;
    #pending = new Map();
    #nextId = 1;
    #isLoaded = false;

    /** `module` is the compiled module, which new workers get. */
    constructor(module) {
        this.#module = module;
        this.#start();
    }

    /** Returns whether a task is running. */
    get isBusy() {
        return this.#pending.size > 0;
    }

    /** Runs a task of the engine in the worker. */
    call(task, input) {
        const id = this.#nextId;
        this.#nextId += 1;
        return new Promise((resolve, reject) => {
            this.#pending.set(id, { resolve, reject });
            this.#worker.postMessage({ id, task, input });
        });
    }

    /** Stops all tasks, whatever they are doing. */
    stop(reason = "stopped") {
        this.#worker.terminate();
        this.#start();
        this.#reject(reason);
    }

    #reject(reason) {
        const pending = [...this.#pending.values()];
        this.#pending.clear();
        pending.forEach(({ reject }) => reject(new Stopped(reason)));
    }

    #start() {
        const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
        this.#worker = worker;
        this.#isLoaded = false;
        worker.addEventListener("message", ({ data }) => this.#answer(data));
        worker.addEventListener("error", (event) => {
            event.preventDefault();
            if (this.#isLoaded) {
                this.stop(event.message || "the worker failed");
            } else {
                // A new one would fail as well.
                this.#reject("the worker cannot be loaded");
            }
        });
        // Answered before every other task.
        worker.postMessage({ id: 0, task: "load", input: this.#module });
    }

    #answer({ id, result, error, isFatal }) {
        this.#isLoaded ||= id === 0 && error === undefined;
        const waiting = this.#pending.get(id);
        this.#pending.delete(id);
        if (error === undefined) {
            waiting?.resolve(result);
            return;
        }
        if (isFatal) {
            this.stop("the module ran out of memory, and was loaded again");
        }
        waiting?.reject(new Error(error));
    }
}
