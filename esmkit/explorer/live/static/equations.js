"use strict";
// Equations as small trees, and the MathML that browsers draw themselves: no font, no library. Trees
// become elements node by node; text goes in through textContent only.

(function (app) {
  const NAMESPACE = "http://www.w3.org/1998/Math/MathML";
  const DIGITS = 4;

  const leaf = (tag, text, attributes) => ({ tag, text, attributes });
  const branch = (tag) => (...parts) => ({ tag, children: parts.flat().map(of) });

  /** A part of an equation: numbers become <mn>, one word <mi>, operators <mo>. */
  function of(part) {
    if (typeof part === "number") return number(part);
    if (typeof part !== "string") return part;
    if (/^[=+−·×−−…,()∑√<>≈→|[\]~]$/.test(part)) return leaf("mo", part);
    return leaf("mi", part);
  }

  /** A number as it is shown everywhere else; below 0 with a minus sign of its own, and 1.2 × 10^−5
   *  where it is very small. */
  function number(value, digits = DIGITS) {
    const text = app.number(value, digits).replace("−", "-");
    const [mantissa, exponent] = text.replace(/^-/, "").split("e");
    const size = leaf("mn", mantissa);
    const power = exponent && branch("msup")(leaf("mn", "10"), whole(Number(exponent)));
    const shown = power ? [size, leaf("mo", "×"), power] : [size];
    if (!text.startsWith("-")) return shown.length > 1 ? branch("mrow")(shown) : size;
    return branch("mrow")(leaf("mo", "−", { form: "prefix" }), ...shown);
  }

  const whole = (value) => (value < 0
    ? branch("mrow")(leaf("mo", "−", { form: "prefix" }), leaf("mn", String(-value)))
    : leaf("mn", String(value)));

  const row = branch("mrow");
  const inBrackets = (...parts) => row(leaf("mo", "(", { form: "prefix" }), ...parts, leaf("mo", ")", { form: "postfix" }));

  app.math = {
    of, number, whole, row, inBrackets,
    over: branch("mfrac"), root: branch("msqrt"), sub: branch("msub"), sup: branch("msup"), both: branch("msubsup"),
    /** Sum over what stands below it. */
    sum: (below) => branch("munder")(leaf("mo", "∑"), of(below)),
    word: (text) => leaf("mtext", text.replaceAll(" ", "\u00a0")), // MathML drops spaces at either end
    /** A vector or matrix: bold, not slanted. */
    bold: (text) => leaf("mi", text, { class: "bold" }),
    /** A number that is added: with its own brackets where it is below 0. */
    term: (value, digits) => (value < 0 ? inBrackets(number(value, digits)) : number(value, digits)),
  };

  /** The tree as an element of the page. */
  app.mathElement = function (tree, display = true) {
    const root = document.createElementNS(NAMESPACE, "math");
    if (display) root.setAttribute("display", "block");
    const add = (parent, part) => {
      const element = document.createElementNS(NAMESPACE, part.tag);
      for (const [name, value] of Object.entries(part.attributes || {})) element.setAttribute(name, value);
      if (part.children) part.children.forEach((child) => add(element, child));
      else element.textContent = part.text;
      parent.append(element);
    };
    add(root, tree);
    return root;
  };

  const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

  /** The tree as MathML text. */
  app.mathMarkup = function (tree) {
    const text = (part) => {
      const attributes = Object.entries(part.attributes || {}).map(([name, value]) => ` ${name}="${escaped(value)}"`).join("");
      const inside = part.children ? part.children.map(text).join("") : escaped(part.text);
      return `<${part.tag}${attributes}>${inside}</${part.tag}>`;
    };
    return `<math xmlns="${NAMESPACE}">${text(tree)}</math>`;
  };
})(esmkitExplorer);
