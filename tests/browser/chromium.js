// Headless Chromium under chromedriver, for the tests of web pages.
//
// A test process has one browser with one page. Environment: SCREENSHOTS is a folder for pictures of the
// page, by default none. Needs chromium and chromedriver (apt-get install chromium chromium-driver).

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const WAIT_MILLISECONDS = 30_000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-device-scale-factor=1"];

/** Keys for `press`. */
export const KEYS = {
    control: "\uE009", enter: "\uE007", escape: "\uE00C", f8: "\uE038", f9: "\uE039",
    left: "\uE012", right: "\uE014", tab: "\uE004",
};

const children = [];
let session = "";

/** Starts a program, and returns it with what the pattern finds in its output. */
export async function start(command, args, pattern, options = {}) {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    children.push(child);
    const found = await new Promise((resolve, reject) => {
        let output = "";
        const read = (data) => {
            output += data;
            const match = pattern.exec(output);
            if (match) resolve(match[1]);
        };
        child.stdout.on("data", read);
        child.stderr.on("data", read);
        child.on("error", reject);
        child.on("exit", (code) => reject(new Error(`${command} ended with ${code}: ${output}`)));
    });
    return { child, found };
}

/** Fails unless a program is installed. */
export function requireProgram(name, argument, packages) {
    assert.equal(spawnSync(name, [argument]).error, undefined,
        `${name} is missing; install it with: apt-get install ${packages}`);
}

/** Fails unless the browser and its driver are installed. */
export function requireBrowser() {
    requireProgram("chromium", "--version", "chromium");
    requireProgram("chromedriver", "--version", "chromium-driver");
}

/** Starts the browser with a window of this size in pixels; its files are in the folder `profile`. */
export async function openBrowser(profile, width, height) {
    const { found: port } = await start("chromedriver", ["--port=0"], /successfully on port (\d+)/);
    const sessions = `http://127.0.0.1:${port}/session`;
    session = sessions;
    const binary = spawnSync("which", ["chromium"]).stdout.toString().trim();
    const { sessionId } = await driver("POST", "", {
        capabilities: {
            alwaysMatch: {
                "goog:chromeOptions": { binary, args: [...FLAGS, `--window-size=${width},${height}`, `--user-data-dir=${profile}`] },
                "goog:loggingPrefs": { browser: "ALL" },
            },
        },
    });
    session = `${sessions}/${sessionId}`;
}

/** Ends the browser and all programs that `start` has started. */
export async function closeBrowser() {
    if (session) await driver("DELETE", "").catch(() => {});
    for (const child of children) {
        child.removeAllListeners("exit");
        child.kill();
    }
}

/** Sends a command of WebDriver, and returns the value of its response. */
export async function driver(method, path, body) {
    const response = await fetch(session + path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${path}: ${value.message}`);
    return value;
}

/** Sends a command of the DevTools protocol. */
export const cdp = (cmd, params) => driver("POST", "/goog/cdp/execute", { cmd, params });

/** Runs the body of a function in the page. */
export const evaluate = (script, ...args) => driver("POST", "/execute/sync", { script, args });

/** Opens an address without what the page before has kept in memory. */
export async function visit(url) {
    await driver("POST", "/url", { url: "about:blank" });
    await driver("POST", "/url", { url });
}

/** Waits until the body of a function returns a true value in the page, and returns the value. */
export async function waitFor(what, script, ...args) {
    const end = Date.now() + WAIT_MILLISECONDS;
    for (;;) {
        const value = await evaluate(script, ...args);
        if (value) return value;
        if (Date.now() >= end) {
            const [address, shown] = await evaluate("return [location.href, document.body.innerText]");
            assert.fail(`timed out waiting for ${what} at ${address}: ${shown}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

/** Returns the reference of the first element that a selector finds. */
export async function find(selector) {
    return Object.values(await driver("POST", "/element", { using: "css selector", value: selector }))[0];
}

/** Replaces the text of a field by typing. */
export async function type(selector, text) {
    const field = await find(selector);
    await driver("POST", `/element/${field}/clear`, {});
    await driver("POST", `/element/${field}/value`, { text });
}

/** Presses keys together on the focused element. */
export async function press(...keys) {
    const down = keys.map((value) => ({ type: "keyDown", value }));
    const up = keys.map((value) => ({ type: "keyUp", value })).reverse();
    await driver("POST", "/actions", { actions: [{ type: "key", id: "keyboard", actions: [...down, ...up] }] });
}

/** Returns the messages of the browser's console since the last call. */
export const consoleMessages = () => driver("POST", "/se/log", { type: "browser" });

/** Writes a picture of the page, if pictures are wanted. */
export async function picture(name) {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${name}.png`), Buffer.from(await driver("GET", "/screenshot"), "base64"));
}
