// Tabs that the arrow keys, Home and End move between.

/** Connects a list of tabs; returns a function that selects the tab with this name. */
export function keyboardTabs(list) {
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const select = (selected) => {
        for (const tab of tabs) {
            const isSelected = tab === selected;
            tab.setAttribute("aria-selected", isSelected);
            tab.tabIndex = isSelected ? 0 : -1;
            document.getElementById(tab.getAttribute("aria-controls")).hidden = !isSelected;
        }
    };
    list.addEventListener("click", ({ target }) => {
        if (tabs.includes(target)) {
            select(target);
        }
    });
    list.addEventListener("keydown", (event) => {
        const at = tabs.indexOf(event.target);
        const to = {
            ArrowRight: (at + 1) % tabs.length,
            ArrowLeft: (at + tabs.length - 1) % tabs.length,
            Home: 0,
            End: tabs.length - 1,
        }[event.key];
        if (at >= 0 && to !== undefined) {
            event.preventDefault();
            select(tabs[to]);
            tabs[to].focus();
        }
    });
    return (name) => select(document.getElementById(`tab-${name}`));
}
