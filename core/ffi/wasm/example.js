// Evaluates a source with a host function, and prints the time of a counting loop: `node example.js`.

import { readFileSync } from "node:fs";

import { Astreum, text, toInteger } from "./astreum.js";

// Folder of the module, by default that of the wrapper.
const folder = process.env.ASTREUM_WASM;
const astreum = await Astreum.load(folder && readFileSync(`${folder}/astreum.wasm`));
const machine = astreum.machine({ meterLimit: 1000 });
const env = astreum.env();
machine.bind("double", (call) => {
    call.charge(1);
    return toInteger(call.args[0]) * 2n;
});
const outcome = machine.eval("(21 double)", env);
console.log(`${astreum.print(outcome.value)}, charge ${outcome.used}`);

// Counts on the heap of the stack machine, with 13 tokens for each number.
machine.setMeterLimit(undefined);
const COUNT = 30000;
const bytes = (...all) => Uint8Array.from(all);
const loop = [
    bytes(COUNT >> 8, COUNT & 0xff), bytes(13), text("heap_set"), text("i"), text("i"),
    text("heap_get"), bytes(0, 1), text("add"), text("heap_set"), text("i"), text("heap_get"),
    text("heap_get"), text("jump"), text("done"),
];
let best = Infinity;
for (let run = 0; run < 30; run += 1) {
    const start = process.hrtime.bigint();
    const { kind } = machine.run(loop);
    if (kind !== "finished") {
        throw new Error(`the loop ended with ${kind}`);
    }
    best = Math.min(best, Number(process.hrtime.bigint() - start) / COUNT);
}
console.log(`counting loop: ${best.toFixed(1)} ns per iteration`);
