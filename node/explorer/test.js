// Tests of the explorer in headless Chromium: `node --test test.js`, after a build of the node.
//
// A node of its own chain serves the page, with hostile data in its transactions; a server of the
// test serves the same page with hostile replies. Environment: ASTREUM is the program, by default
// target/debug/astreum; SCREENSHOTS is a folder for pictures of the page, by default none. Needs
// chromium and chromedriver (apt-get install chromium chromium-driver).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
    KEYS, cdp, closeBrowser, consoleMessages, driver, evaluate, find, openBrowser, picture, press, requireBrowser, start, type,
    visit, waitFor,
} from "../../tests/browser/chromium.js";

const ASTREUM = process.env.ASTREUM ?? fileURLToPath(new URL("../../target/debug/astreum", import.meta.url));
const HOSTILE = "\"><img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>'`\u202E\u200B\u0007end";
const LONG = "long ".repeat(4_000);

const home = mkdtempSync(join(tmpdir(), "astreum-explorer-"));
const servers = [];
let page = "", node = null, validator = "", wallet = "", treasury = "01".repeat(32);
const sent = {};

const environment = { HOME: home, XDG_STATE_HOME: join(home, "state"), PATH: process.env.PATH };

function astreum(...args) {
    const { status, stdout, stderr } = spawnSync(ASTREUM, args, { cwd: home, env: environment, encoding: "utf8" });
    assert.equal(status, 0, `astreum ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
}

const text = () => evaluate("return document.getElementById('main').innerText");
const hash = () => evaluate("return location.hash");

const waitForText = (part) => waitFor(JSON.stringify(part), "return document.getElementById('main').innerText.includes(arguments[0])", part);
const waitForHash = (part) => waitFor(`the address ${part}`, "return location.hash.includes(arguments[0]) && document.documentElement.dataset.ready === location.hash", part);

/** Clicks on a link or button; a page that is refreshed meanwhile has another one in its place. */
async function click(selector) {
    await waitFor(selector, "return document.querySelector(arguments[0]) !== null", selector);
    for (let attempt = 0; ; attempt += 1) {
        try {
            return await driver("POST", `/element/${await find(selector)}/click`, {});
        } catch (error) {
            if (attempt === 20 || !/stale|not attached|intercepted/i.test(error.message)) throw error;
        }
    }
}

async function search(words) {
    await type("#query", words);
    await press(KEYS.enter);
}

async function open(fragment = "", address = page) {
    await visit(address + fragment);
    await waitFor("the page", "return document.documentElement.dataset.ready !== undefined");
}

const call = async (method, params = {}) => {
    const url = new URL("/", page);
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    const { result, error } = await response.json();
    assert.equal(error, undefined, `${method}: ${JSON.stringify(error)}`);
    return result;
};

const startNode = async (listen) => {
    const started = await start(ASTREUM, ["run", "--config", "node.toml", "--rpc-listen", listen], /explorer\s+(http:\S+)[^]*Ctrl-C/, { cwd: home, env: environment });
    node = started.child;
    page = started.found;
};

before(async () => {
    requireBrowser();
    assert.ok(existsSync(ASTREUM), `${ASTREUM} is missing; build it with: cargo build -p astreum-node`);
    validator = astreum("keys", "generate", "validator.key", "--kind", "validation").split("\n")[0];
    wallet = astreum("keys", "generate", "wallet.key", "--kind", "account").split("\n")[0];
    writeFileSync(join(home, "node.toml"), `incoming_port = 0\ndefault_seed = ""\ncold_storage_path = "cold"
validation_secret_key_file = "validator.key"\nrpc_listen = "127.0.0.1:0"\nexplorer = true\ntransaction_index = true\nblock_interval = 2\n`);
    astreum("genesis", "--config", "node.toml", "--balance", `${validator}=1_000_000_000_000`, "--balance", `${wallet}=${"9".repeat(70)}`, "--balance", "treasury=1", "--stake", `${validator}=1000`);
    await startNode("127.0.0.1:0");
    const send = (name, ...args) => {
        const { id } = JSON.parse(astreum("tx", "send", ...args, "--config", "node.toml", "--json"));
        sent[name] = id;
    };
    for (;;) {
        const { chain } = await call("status");
        if (chain.height > 0) break;
        await new Promise((resolve) => setTimeout(resolve, 200));
    }
    send("plain", wallet, "25");
    send("hostile", wallet, "1", "--data-text", HOSTILE);
    send("long", wallet, "2", "--data-text", LONG);
    send("back", validator, "3", "--key-file", "wallet.key");
    for (const id of Object.values(sent)) {
        for (;;) {
            const { state } = await call("transaction_status", { id, wait_seconds: 20 });
            if (state === "success") break;
        }
    }
    await openBrowser(join(home, "profile"), 1280, 1000);
    await open();
});

after(async () => {
    for (const server of servers) {
        server.closeAllConnections();
        server.close();
    }
    await closeBrowser();
    await new Promise((resolve) => setTimeout(resolve, 500));
    rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
});

test("the status is shown with charts, and follows the head", async () => {
    await waitFor("the live state", "return document.getElementById('live').textContent === 'live'");
    const shown = await text();
    for (const part of ["Height", "Block interval", "Transactions", "Peers", "Latest blocks", "Version", "transactions of blocks 0 to"]) {
        assert.ok(shown.includes(part), `${part}: ${shown}`);
    }
    assert.ok(await evaluate("return document.querySelectorAll('.card svg').length >= 5 && document.querySelectorAll('.card svg .bar').length > 3"));
    const height = () => evaluate("return Number(document.querySelector('.card .value').textContent)");
    const before = await height();
    await waitFor("the next block", "return Number(document.querySelector('.card .value').textContent) > arguments[0]", before);
    await waitFor("a line of samples", "return document.querySelector('.card svg .path') !== null");
    await picture("home-light");
});

test("one clicks from a block to a transaction, an account and its atoms", async () => {
    const { height, block } = await call("transaction_status", { id: sent.plain });
    await open(`#/block/${height}`);
    await waitForText(block);
    assert.match(await text(), /Transactions \([1-9]\)/);
    await picture("block");
    await click(`a[href="#/tx/${sent.plain}"]`);
    await waitForHash(`#/tx/${sent.plain}`);
    const shown = await text();
    for (const part of ["success", wallet, validator, "Amount\n25", "valid"]) assert.ok(shown.includes(part), `${part}: ${shown}`);
    await click(`a[href="#/account/${wallet}"]`);
    await waitForHash(`#/account/${wallet}`);
    const account = await text();
    assert.ok(/… \(7[01] digits\)/.test(account), account);
    for (const part of ["received", "sent", "index: blocks 0 to"]) assert.ok(account.includes(part), `${part}: ${account}`);
    assert.equal(await evaluate("return document.querySelectorAll('tbody tr').length"), 4);
    await picture("account");
    // The direction, by button.
    const direction = (name) => evaluate("[...document.querySelectorAll('button')].find((it) => it.textContent === arguments[0]).click()", name);
    await direction("Sent");
    await waitFor("the sent transactions", "return document.querySelectorAll('tbody tr').length === 1");
    assert.ok(await evaluate("return document.querySelector('tbody a[href^=\"#/tx/\"]').href.endsWith(arguments[0])", sent.back));
    await direction("All");
    await waitFor("all transactions", "return document.querySelectorAll('tbody tr').length === 4");
    // The record of the account is an atom, and atoms lead to further ones.
    const { id } = await call("account", { account: wallet });
    await click("dd a[href^='#/atom/']");
    await waitForHash("#/atom/");
    await open(`#/atom/${id}`);
    await waitForText("Show the list from here");
    const { next } = await call("get", { id });
    await evaluate("[...document.querySelectorAll('button')].find((it) => it.textContent.startsWith('Show the list')).click()");
    await waitFor("the list", "return document.querySelectorAll('tbody tr').length > 3");
    await picture("atom");
    await click(`a[href="#/atom/${next}"]`);
    await waitForHash(`#/atom/${next}`);
    await driver("POST", "/back", {});
    await waitForHash(`#/atom/${id}`);
});

test("search finds heights, blocks, transactions, accounts and atoms", async () => {
    const { id: block } = await call("block", { at: "3" });
    const { id: record } = await call("account", { account: wallet });
    await open();
    for (const [words, expected] of [
        ["3", "#/block/3"],
        ["0003", "#/block/3"],
        ["head", "#/block/head"],
        [block, `#/block/${block}`],
        [`0x${sent.long.toUpperCase()}`, `#/tx/${sent.long}`],
        [wallet, `#/account/${wallet}`],
        ["treasury", `#/account/${treasury}`],
        [record, `#/atom/${record}`],
    ]) {
        await search(words);
        await waitFor(`${words} at ${expected}`, "return location.hash === arguments[0] && document.documentElement.dataset.ready === location.hash", expected);
    }
    await search("nonsense");
    assert.equal(await evaluate("return document.getElementById('query').validity.customError"), true);
    await search("ab".repeat(32));
    await waitForText("Neither this node nor a peer has");
    await search("99999999");
    await waitForText("does not exist yet; the head is block");
});

test("data of a transaction is text, whatever it contains, and is cut", async () => {
    await open(`#/tx/${sent.hostile}`);
    await waitForText("onerror=");
    const shown = await text();
    assert.ok(shown.includes("<script>window.pwned=1</script>"), shown);
    assert.ok(shown.includes("\\u{202e}\\u{200b}\\u{7}end"), shown);
    assert.deepEqual(await evaluate("return [window.pwned ?? null, document.images.length, document.scripts.length, /[\\u202e\\u200b]/.test(document.body.textContent)]"), [null, 0, 1, false]);
    await picture("hostile");
    await open(`#/tx/${sent.long}`);
    await waitForText("more bytes");
    assert.match(await text(), /20.000 bytes/);
    assert.ok((await evaluate("return document.body.textContent.length")) < 60_000);
    // The policy stops what would get past that.
    const blocked = await evaluate(`
        try { document.body.innerHTML = "<img src=x>"; return "inserted"; } catch (error) { return error.name; }`);
    assert.equal(blocked, "TypeError");
    // Not at once: what the driver runs may evaluate text.
    await evaluate("setTimeout(() => { try { new Function('window.pwned = 3')(); } catch (error) { window.refused = error.name; } })");
    await waitFor("the refusal", "return window.refused === 'EvalError'");
    await evaluate(`const script = document.createElement("script"); try { script.text = "window.pwned = 2"; } catch { }
        document.head.append(script)`);
    assert.equal(await evaluate("return window.pwned ?? null"), null);
    // Those attempts are reported, on purpose.
    await consoleMessages();
});

test("keyboard, phone width and dark colours", async () => {
    await open();
    await press(KEYS.tab);
    assert.equal(await evaluate("return document.activeElement.textContent"), "Skip to the content");
    await press("/");
    assert.equal(await evaluate("return document.activeElement.id"), "query");
    await press(KEYS.escape);
    assert.equal(await evaluate("return document.activeElement.id"), "");
    await cdp("Emulation.setDeviceMetricsOverride", { width: 375, height: 760, deviceScaleFactor: 1, mobile: true });
    await cdp("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
    for (const [name, fragment] of [["home", ""], ["block", "#/block/head"], ["tx", `#/tx/${sent.long}`], ["account", `#/account/${wallet}`]]) {
        await open(fragment);
        const wide = await evaluate("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
        await picture(`phone-${name}`);
    }
    assert.equal(await evaluate("return getComputedStyle(document.body).backgroundColor"), "rgb(16, 21, 27)");
    await cdp("Emulation.clearDeviceMetricsOverride", {});
    await open();
    await picture("home-dark");
    await cdp("Emulation.setEmulatedMedia", { features: [] });
});

test("a node that is gone is shown, and its return", async () => {
    await open();
    await waitFor("the live state", "return document.getElementById('live').textContent === 'live'");
    const { port } = new URL(page);
    node.removeAllListeners("exit");
    const ended = new Promise((resolve) => node.on("exit", resolve));
    node.kill("SIGINT");
    await ended;
    await waitFor("the state", "return document.getElementById('live').textContent.startsWith('node is gone, last answer')");
    // What was shown stays, and looks old.
    assert.ok(await evaluate("return document.getElementById('main').classList.contains('stale')"));
    assert.ok((await text()).includes("Latest blocks"));
    await picture("gone");
    await startNode(`127.0.0.1:${port}`);
    await waitFor("the live state", "return document.getElementById('live').textContent === 'live'");
    assert.equal(await evaluate("return document.getElementById('main').classList.contains('stale')"), false);
    // Requests to a node that is not there are errors of the console.
    await consoleMessages();
});

test("hostile replies of a node without a WebSocket are text", async () => {
    const served = await fetch(page);
    const headers = Object.fromEntries([...served.headers].filter(([name]) => !["content-length", "date", "connection"].includes(name)));
    const body = await served.text();
    const evil = HOSTILE;
    const block = { id: evil, chain_id: evil, height: evil, previous: evil, timestamp: evil, difficulty: evil, validator: evil, nonce: evil,
        cumulative_mint: evil, cumulative_total_fees: evil, total_fees: evil, accounts: evil, transactions: evil, receipts: evil, signature_holds: true,
        transaction_count: evil, included: [{ index: evil, id: evil, receipt: evil, status: evil, cost: evil }] };
    const replies = {
        status: { version: evil, public_key: evil, listen_address: evil, uptime_seconds: evil, chain_id: evil, peers: evil, hot_atoms: evil, hot_bytes: evil,
            advertisements: evil, problems: [evil], warnings: [evil, "x".repeat(100_000)], counters: {}, chain: { head: "ab".repeat(32), height: evil, state: evil, root: evil },
            validator: { public_key: evil, activity: evil, pool_transactions: evil, pool_bytes: evil } },
        blocks: [block], block, account: undefined,
        transaction: { id: evil, sender: evil, recipient: evil, amount: evil, counter: evil, chain_id: evil, data: evil },
        transaction_status: { state: evil, block: evil, height: evil, index: evil, reason: evil, confirmation: evil, receipt: evil },
        get: { id: evil, kind: evil, next: evil, data: evil },
    };
    const server = createServer((request, response) => {
        if (request.method !== "POST") {
            response.writeHead(200, headers).end(body);
            return;
        }
        let message = "";
        request.on("data", (data) => { message += data; });
        request.on("end", () => {
            const { id, method } = JSON.parse(message);
            const result = replies[method];
            const reply = result === undefined ? { jsonrpc: "2.0", id, error: { code: 1, message: evil } } : { jsonrpc: "2.0", id, result };
            response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(reply));
        });
    });
    servers.push(server);
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = `http://127.0.0.1:${server.address().port}/explorer`;
    const id = "ab".repeat(32);
    for (const fragment of ["", "#/blocks/head", `#/block/${id}`, `#/tx/${id}`, `#/account/${id}`, `#/atom/${id}`, `#/find/${id}`,
        "#/<img src=x onerror=window.pwned=1>", "#/constructor/" + id, "#/block/%22%3E%3Cscript%3E"]) {
        await open(fragment, address);
        await waitFor(`content of ${fragment}`, "const text = document.getElementById('main').innerText; return text && !text.includes('Loading')");
        const [pwned, images, scripts, invisible, length] = await evaluate("return [window.pwned ?? null, document.images.length, document.scripts.length, /[\\u202e\\u200b]/.test(document.body.textContent), document.body.innerText.length]");
        assert.deepEqual([pwned, images, scripts, invisible], [null, 0, 1, false], fragment);
        assert.ok(length < 20_000, `${fragment}: ${length} characters`);
    }
    await open("", address);
    await waitFor("the polling", "return document.getElementById('live').textContent === 'polling'");
    await picture("hostile-node");
    // Only the refused WebSockets are in the console.
    const messages = await consoleMessages();
    const others = messages.filter(({ message }) => !message.includes("WebSocket connection to"));
    assert.deepEqual(others, []);
    await open();
    server.closeAllConnections();
    server.close();
});

test("no page logs an error, and without an index the account page says so", async () => {
    const { id: record } = await call("account", { account: wallet });
    await consoleMessages();
    for (const fragment of ["", "#/blocks/head", "#/block/0", `#/tx/${sent.hostile}`, `#/account/${wallet}`, `#/account/${treasury}`, `#/atom/${record}`]) {
        await open(fragment);
        assert.ok(!(await text()).includes("This page failed"), `${fragment}: ${await text()}`);
    }
    const messages = await consoleMessages();
    assert.deepEqual(messages.map(({ message }) => message), []);
    node.removeAllListeners("exit");
    const ended = new Promise((resolve) => node.on("exit", resolve));
    node.kill("SIGINT");
    await ended;
    const { found } = await start(ASTREUM, ["run", "--config", "node.toml", "--rpc-listen", "127.0.0.1:0", "--transaction-index=false"], /explorer\s+(http:\S+)[^]*Ctrl-C/, { cwd: home, env: environment });
    page = found;
    await open(`#/account/${wallet}`);
    await waitForText("This node has no index of transactions");
    assert.ok((await text()).includes("transaction_index = true"));
    await picture("no-index");
});
