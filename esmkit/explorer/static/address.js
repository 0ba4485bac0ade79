"use strict";
// The view in the address of a page, so that it can be shared; what is as the page began is left out.
// A page says in app.fields what there is, by its name in the address: key of the state, how it is
// read (undefined: no such value), how written; in app.always the keys that are never left out.

(function (app) {
  const number = (low, high) => (text) => {
    const value = Number(text);
    return text !== "" && Number.isFinite(value) && value >= low && value <= high ? value : undefined;
  };
  const whole = (low, high) => (text) => (/^\d+$/.test(text) ? number(low, high)(text) : undefined);
  const oneOf = (...values) => (text) => (values.includes(text) ? text : undefined);
  const flag = (text) => ({ yes: true, no: false })[text];
  app.parse = { number, whole, oneOf, flag };
  app.fields = {};
  app.always = [];
  app.take = app.set;

  let initial = null;
  let ours = "";

  /** The state as text; some of it always, all else where it has been changed. */
  app.address = function () {
    const parts = [];
    for (const [name, [key, , write]] of Object.entries(app.fields)) {
      const value = app.state[key];
      if (value === null || (!app.always.includes(key) && value === initial[key])) continue;
      parts.push(`${name}=${encodeURIComponent(write(value))}`);
    }
    return parts.join("&");
  };

  /** Take over what an address asks for; values that the page does not have are passed over. */
  function read(text) {
    const plain = text.replace(/^#/, "");
    if (!plain || app.byId(plain)) return false; // nothing is asked for, or a place of the page
    const asked = new URLSearchParams(plain.includes("=") ? plain : { head: plain }); // #L5H4 for short
    const changes = {};
    for (const [name, [key, parse]] of Object.entries(app.fields)) {
      if (!asked.has(name)) continue;
      const value = parse(asked.get(name));
      if (value !== undefined) changes[key] = value;
    }
    if (!Object.keys(changes).length) return false;
    app.take(changes);
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
    app.follow(Object.values(app.fields).map(([key]) => key), write);
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
