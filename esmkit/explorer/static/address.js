"use strict";
// The view in the address of the page, so that it can be shared: #head=L5H4&query=14&key=2. Residues
// are numbered from 1, as everywhere on the page; what is as the page began is left out.

(function (app) {
  const number = (low, high) => (text) => {
    const value = Number(text);
    return text !== "" && Number.isFinite(value) && value >= low && value <= high ? value : undefined;
  };
  const whole = (low, high) => (text) => (/^\d+$/.test(text) ? number(low, high)(text) : undefined);
  const residue = (text) => {
    const value = whole(1, app.residues)(text);
    return value === undefined ? undefined : value - 1;
  };
  const oneOf = (...values) => (text) => (values.includes(text) ? text : undefined);
  const flag = (text) => ({ yes: true, no: false })[text];

  /** Residues of a brushed region, q0-q1,k0-k1; or a-b of links that begin or end there. */
  function region(text) {
    const found = /^(\d+)-(\d+)(?:,(\d+)-(\d+))?$/.exec(text);
    if (!found) return undefined;
    const ends = found.slice(1).filter((end) => end !== undefined).map(residue);
    if (ends.includes(undefined)) return undefined;
    const [q0, q1, k0 = q0, k1 = q1] = ends;
    return q0 > q1 || k0 > k1 ? undefined : { q0, q1, k0, k1, either: ends.length === 2 };
  }
  const regionText = ({ q0, q1, k0, k1, either }) =>
    `${q0 + 1}-${q1 + 1}` + (either ? "" : `,${k0 + 1}-${k1 + 1}`);

  // Name in the address: key of the state, how it is read (undefined: no such value), how written
  const FIELDS = {
    head: ["head", (text) => (app.heads.has(text) ? text : undefined), String],
    query: ["query", residue, (value) => value + 1],
    key: ["key", residue, (value) => value + 1],
    threshold: ["threshold", number(0, Infinity), (value) => Number(value.toPrecision(4))],
    symmetric: ["apc", flag, (value) => (value ? "yes" : "no")],
    contacts: ["truth", flag, (value) => (value ? "yes" : "no")],
    colours: ["scale", oneOf("linear", "sqrt"), String],
    rows: ["top", (text) => (["25", "50", "100", "250"].includes(text) ? Number(text) : undefined), String],
    separation: ["separation", whole(0, 1e6), String],
    farthest: ["farthest", whole(0, 1e6), String],
    region: ["brush", region, regionText],
  };
  let initial = null;
  let ours = "";

  /** The state as text; head and picked pair always, all else where it has been changed. */
  app.address = function () {
    const parts = [];
    for (const [name, [key, , write]] of Object.entries(FIELDS)) {
      const value = app.state[key];
      const always = key === "head" || key === "query" || key === "key";
      if (value === null || (!always && value === initial[key])) continue;
      parts.push(`${name}=${encodeURIComponent(write(value))}`);
    }
    return parts.join("&");
  };

  /** Take over what an address asks for; values that the page does not have are passed over. */
  function read(text) {
    const asked = new URLSearchParams(text.replace(/^#/, ""));
    const changes = {};
    for (const [name, [key, parse]] of Object.entries(FIELDS)) {
      if (!asked.has(name)) continue;
      const value = parse(asked.get(name));
      if (value !== undefined) changes[key] = value;
    }
    if (!Object.keys(changes).length) return false;
    const { head, ...rest } = changes;
    if (head !== undefined) app.set({ head }); // first: it may bring a pair of its own
    app.set(rest);
    return true;
  }

  function write() {
    ours = `#${app.address()}`;
    try {
      history.replaceState(null, "", ours);
    } catch {
      // inside a notebook the page has no address of its own
    }
  }

  app.startAddress = function () {
    initial = { ...app.state };
    read(location.hash);
    app.follow(Object.values(FIELDS).map(([key]) => key), write);
    addEventListener("hashchange", () => {
      if (location.hash !== ours && read(location.hash)) write();
    });
    // Links inside the page move it and leave its address alone
    document.addEventListener("click", (event) => {
      const link = event.target.closest('a[href^="#"]');
      const place = link && app.byId(link.getAttribute("href").slice(1));
      if (!place) return;
      event.preventDefault();
      place.scrollIntoView();
      if (link.classList.contains("skip")) {
        place.tabIndex = -1;
        place.focus();
      }
    });
    write();
  };
})(esmkitExplorer);
