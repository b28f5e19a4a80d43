// Programs in the fragment of an address, which browsers do not send to servers.

const PREFIX = "#program=";
/** Maximum size of a program in a link; mail programs and chats cut longer addresses. */
export const MAX_LINK_BYTES = 24_000;

/** Returns the fragment for a program, or `null` if it is too long. */
export function toFragment(source) {
    const bytes = new TextEncoder().encode(source);
    if (bytes.length > MAX_LINK_BYTES) {
        return null;
    }
    let binary = "";
    for (const byte of bytes) {
        binary += String.fromCharCode(byte);
    }
    return PREFIX + btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Returns the program of a fragment, or `null` if it has none; throws if it is damaged. */
export function fromFragment(fragment) {
    if (!fragment.startsWith(PREFIX)) {
        return null;
    }
    const digits = fragment.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/");
    try {
        const bytes = Uint8Array.from(atob(digits), (char) => char.charCodeAt(0));
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
        throw new Error("The link is damaged: what follows “#program=” is not a program.");
    }
}
