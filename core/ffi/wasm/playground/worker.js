// Worker: keeps the page responsive. Messages are `{ id, task, input }`; answers are `{ id, result }`
// or `{ id, error }`.

import { Astreum } from "./astreum.js";
import { Engine } from "./engine.js";

const TASKS = new Set(["run", "debug", "step", "finish", "atoms", "verify"]);

/** Promise of the engine: tasks may arrive before the module is loaded. */
let engine = null;

addEventListener("message", async ({ data }) => {
    const { id, task, input } = data;
    try {
        if (task === "load") {
            engine = Astreum.load(input).then((astreum) => new Engine(astreum));
            await engine;
            postMessage({ id, result: null });
        } else if (TASKS.has(task)) {
            postMessage({ id, result: await (await engine)[task](input) });
        }
    } catch (error) {
        postMessage({ id, error: String(error?.message ?? error), isFatal: isFatal(error) });
    }
});

/** Returns whether the module cannot be used any more. */
function isFatal(error) {
    return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}
