// Atoms of expressions as a tree.

import { element } from "./editor.js";

const shortId = (id) => {
    const found = element("code", "id", `${id.slice(0, 8)}…`);
    found.title = id;
    return found;
};

/** Returns the items of the list element for these trees. */
export function atomTree(trees) {
    return trees.map((tree) => element("li", "", node(tree)));
}

// Recursion is bounded: a tree has at most a few hundred atoms.
function node(tree) {
    if (tree.kind !== "list") {
        const size = tree.kind === "bytes" ? ` ${plural(tree.size, "byte")}` : "";
        return element("span", "atom", shortId(tree.id), " ",
            element("span", "kind", `${tree.kind} atom${size}`), " ",
            element("span", tree.kind === "symbol" ? "symbol" : "string", tree.text));
    }
    const summary = element("summary", "", shortId(tree.id), " ",
        element("span", "kind", `list of ${plural(tree.items.length, "atom")}`));
    const items = tree.items.map((item, index) => {
        const isLast = /^0*$/.test(item.next);
        const place = element("span", "kind", isLast ? "list atom, last" : "list atom, next ");
        const head = element("span", "atom", shortId(item.id), " ", place, ...(isLast ? [] : [shortId(item.next)]));
        head.dataset.index = index;
        return element("li", "", head, element("ul", "", ...item.child.map((child) => element("li", "", node(child)))));
    });
    const details = element("details", "", summary, element("ul", "", ...items));
    details.open = true;
    return details;
}

function plural(count, name) {
    return `${count} ${name}${count === 1 ? "" : "s"}`;
}
