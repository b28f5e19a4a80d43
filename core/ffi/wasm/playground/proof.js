// Checker of trie proofs: its form, and what it says.

import { element } from "./editor.js";

const ROOT_BYTES = 32;
const MAX_PROOF_BYTES = 1 << 20;

/** Converts hex digits to bytes; white space and a leading 0x are allowed. */
export function fromHex(text, what) {
    const digits = text.replaceAll(/\s/g, "").replace(/^0x/i, "");
    const characters = [...digits];
    const wrong = characters.findIndex((character) => !/^[0-9a-f]$/i.test(character));
    if (wrong >= 0) {
        throw new Error(`${what}: “${characters[wrong]}” at digit ${wrong + 1} is not a hex digit.`);
    }
    if (digits.length % 2 === 1) {
        throw new Error(`${what}: ${digits.length} hex digits are an odd number; a byte has two.`);
    }
    return Uint8Array.from({ length: digits.length / 2 }, (_, index) =>
        Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

/** Reads the form; throws an error for people. */
export function readProof({ root, key, keyForm, proof }) {
    const rootBytes = fromHex(root, "Root");
    if (rootBytes.length !== ROOT_BYTES) {
        throw new Error(`Root: expected 64 hex digits, found ${rootBytes.length * 2}.`);
    }
    const keyBytes = keyForm === "hex" ? fromHex(key, "Key") : new TextEncoder().encode(key);
    if (proof.length > 3 * MAX_PROOF_BYTES) {
        throw new Error("Proof: it is larger than 1 MiB; proofs have a few kilobytes.");
    }
    const proofBytes = fromHex(proof, "Proof");
    return { root: rootBytes, key: keyBytes, proof: proofBytes };
}

/** Returns what a checked proof says: whether it is valid, and a sentence. */
export function proofSentence(checked) {
    switch (checked.kind) {
        case "value":
            return { isValid: true, text: `Valid: the trie with this root has the value ${checked.value} (0x${checked.valueHex.slice(0, 128)}${checked.valueHex.length > 128 ? "…" : ""}) for the key.` };
        case "absent":
            return { isValid: true, text: "Valid: the trie with this root has no value for the key." };
        default:
            return { isValid: false, text: `Invalid proof: ${checked.message}.` };
    }
}

/** Returns list items for the atoms of a proof. */
export function proofAtomItems(atoms) {
    return atoms.map(({ id, kind, size }) =>
        element("li", "", element("code", "id", id), " ",
            element("span", "kind", `${kind} atom, ${size} ${size === 1 ? "byte" : "bytes"}`)));
}
