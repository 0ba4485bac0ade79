"use strict";
// What all pages share: their data, one state that every view follows, numbers and elements. Text
// from files reaches a page through textContent only.

const esmkitExplorer = (window.esmkitExplorer = {});

(function (app) {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);

  app.data = read("data");
  app.colourTables = read("data-colours");
  app.byId = (id) => document.getElementById(id);

  // ---------------------------------------------------------------------------------- decoding

  const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

  /** Decode one array of the page; its base64 text stays where it is. */
  app.bytes = function (name) {
    const found = app.byId("data-" + name);
    if (!found) return null;
    if (!LITTLE_ENDIAN) throw new Error("this page needs a little-endian machine");
    const text = atob(found.textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes.buffer;
  };

  /** Remember the last few results of a function of one name; maps are large. */
  app.remember = function (make, count) {
    const kept = new Map();
    const remembered = function (name) {
      if (kept.has(name)) {
        const value = kept.get(name);
        kept.delete(name);
        kept.set(name, value);
        return value;
      }
      const value = make(name);
      kept.set(name, value);
      if (kept.size > count) kept.delete(kept.keys().next().value);
      return value;
    };
    remembered.forget = () => kept.clear();
    return remembered;
  };

  // --------------------------------------------------------------------------------- numbers

  /** A number with about three digits; a true minus sign. */
  app.number = function (value, digits = 3) {
    if (value === null || value === undefined || Number.isNaN(value)) return "not known";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
    return text.replace("-", "−");
  };

  app.percent = (share) => (share === null || Number.isNaN(share) ? "not known" : `${app.number(100 * share, 2)} %`);

  // ----------------------------------------------------------------------------------- state

  app.state = {};

  const listeners = [];
  app.follow = (keys, listener) => listeners.push({ keys, listener });

  /** Change the state and tell every view that follows one of the changed keys. */
  app.set = function (changes) {
    const changed = Object.keys(changes).filter((key) => app.state[key] !== changes[key]);
    if (!changed.length) return;
    Object.assign(app.state, changes);
    for (const { keys, listener } of listeners) {
      if (keys.some((key) => changed.includes(key))) listener(changed);
    }
  };

  /** Make an element with text; attributes as given. */
  app.make = function (tag, text, attributes = {}) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  app.clamp = (value, low, high) => Math.min(high, Math.max(low, value));
})(esmkitExplorer);
