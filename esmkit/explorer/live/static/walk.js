"use strict";
// What one token goes through, step by step: names, numbers and equations, without drawing anything.
// Steps carry the names of esmkit's trace: embedding, L0.attention_input, ..., final, logits. Among
// equations a text is a remark.

(function (app) {
  const EPS = 1e-5; // of LayerNorm, as in the reference
  const KEPT_IN_TRAINING = 1 - 0.15 * 0.8; // share of tokens that training left in sight
  const TERMS = 3; // largest parts of a sum that are written out

  const { bold, both, inBrackets, number, over, root, row, sub, sum, sup, term, whole, word } = app.math;

  app.LAYER_STEPS = [
    "attention_input", "query", "key", "value", "rotated_query", "rotated_key", "scores", "weights",
    "head_output", "attention_output", "attention_residual", "feed_forward_input",
    "feed_forward_hidden", "feed_forward_output", "residual",
  ];

  app.lengthOf = (values) => Math.sqrt(values.reduce((total, v) => total + v * v, 0));

  app.cosineOf = function (a, b) {
    const dot = a.reduce((total, v, i) => total + v * b[i], 0);
    return dot / (app.lengthOf(a) * app.lengthOf(b) || 1);
  };

  /** Places of the largest values, by what they are worth. */
  app.largestOf = function (values, count, worth = Math.abs) {
    const order = Array.from(values.keys()).sort((a, b) => worth(values[b]) - worth(values[a]));
    return order.slice(0, count);
  };

  const spread = function (x) {
    const mean = x.reduce((total, v) => total + v, 0) / x.length;
    return { mean, variance: x.reduce((total, v) => total + (v - mean) ** 2, 0) / x.length };
  };
  const lengthNote = (values) => `length ${app.number(app.lengthOf(values), 4)}`;
  const at = (name, index) => sub(name, typeof index === "number" ? whole(index) : index);
  const one = (name, index) => at(name, index + 1); // entries are counted from 1, as positions are

  /** a × b + c × d + … = total, the largest parts first. */
  function writtenOut(left, right, total) {
    const parts = app.largestOf(left.map((v, i) => v * right[i]), TERMS);
    const shown = parts.flatMap((i, n) => [...(n ? ["+"] : []), term(left[i]), "×", term(right[i])]);
    return row(...shown, ...(left.length > TERMS ? ["+", "…"] : []), "=", number(total));
  }

  /** One output of a linear map with its largest products; without the weights only its value. */
  function linearLine(name, letter, d, input, inputLetter, value, { first = 0, weights } = {}) {
    const found = app.linearRow(name, first + d, weights);
    const symbols = row(one(letter, d), "=", sum("i"), at("w", row(whole(d + 1), "i")), at(inputLetter, "i"), "+", one("b", d));
    if (!found) return [row(symbols, "=", number(value))];
    const most = app.largestOf(found.weights.map((w, i) => w * input[i]), TERMS);
    const terms = most.flatMap((i, n) => [...(n ? ["+"] : []), term(found.weights[i]), "×", term(input[i])]);
    return [symbols,
      row("=", ...terms, ...(input.length > TERMS ? ["+", "…"] : []), "+", term(found.bias), "=", number(value)),
      `The largest of the ${input.length} products are those of i = ${most.map((i) => i + 1).join(", ")}.`];
  }

  // ------------------------------------------------------------------------------- one kind each

  function embedding(given) {
    const { token, model, masked, names } = given;
    const values = given.before;
    const id = model.tokens.indexOf(names[token]);
    const share = masked.length / names.length;
    const factor = KEPT_IN_TRAINING / (1 - share);
    const hidden = names[token] === "<mask>";
    return {
      name: "embedding", title: "Embedding",
      text: hidden
        ? [`${given.me} is hidden: <mask> becomes ${values.length} zeros, so the model knows nothing of it but its place.`]
        : [`The letter of ${given.me} is token ${id} of the ${model.tokens.length}, counted from 0. Its row of the embedding table, ${values.length} learned numbers, is multiplied by one factor: in training 12 % of tokens were hidden on average, and the factor makes up for those that are in sight now.`],
      vectors: [{ name: "embedding", label: `embedding of ${given.me}`, values }],
      equations: (d) => hidden
        ? [row(one("x", d), "=", number(0))]
        : [row(bold("x"), "=", over(row(number(1), "−", number(0.12)), row(number(1), "−", number(share))), at(bold("E"), id)),
           row(one("x", d), "=", number(factor), "×", term(values[d] / factor), "=", number(values[d]))],
    };
  }

  function arriving(given) {
    const { layer, before } = given;
    return {
      name: `L${layer - 1}.residual`, title: "What arrives",
      text: [`The stream of ${given.me} after layer ${layer - 1}: the embedding, and all that ${layer === 1 ? "one layer has" : `${layer} layers have`} added to it.`],
      vectors: [{ name: `L${layer - 1}.residual`, label: `stream of ${given.me}`, values: before }],
      equations: (d) => [row(one("x", d), "=", number(before[d]))],
    };
  }

  /** A LayerNorm; gain and bias where they are known. */
  function norm(name, title, input, values, symbols, affine, text) {
    const { mean, variance } = spread(input);
    const [x, y] = symbols;
    const scaled = (d) => (input[d] - mean) / Math.sqrt(variance + EPS);
    return {
      name, title, text, mean, variance,
      vectors: [{ name, label: name.replace(/^.*\./, ""), values }],
      equations(d) {
        const general = row(at(y, "i"), "=", over(row(at(x, "i"), "−", "μ"), root(sup("σ", whole(2)), "+", "ε")), at("γ", "i"), "+", at("β", "i"));
        const facts = [row("μ", "=", over(whole(1), "D"), sum("i"), at(x, "i"), "=", number(mean)),
          row(sup("σ", whole(2)), "=", over(whole(1), "D"), sum("i"), sup(inBrackets(at(x, "i"), "−", "μ"), whole(2)), "=", number(variance))];
        const fraction = over(row(number(input[d]), "−", term(mean)), root(number(variance), "+", sup(whole(10), whole(-5))));
        const rest = affine ? ["×", term(affine.gain[d]), "+", term(affine.bias[d])] : [];
        const before = affine ? [] : ["=", number(scaled(d)), word(" before gain and bias, "), one(y, d)];
        return [general, ...facts, row(one(y, d), ...(affine ? ["=", fraction, ...rest] : ["from", fraction, ...before]), "=", number(values[d]))];
      },
    };
  }

  function projected(given) {
    const { here, layer, head, take, other } = given;
    const size = take(here.query, head).length;
    const one_ = (name, letter, values, owner, text) => ({
      name: `L${layer}H${head}.${name}`, title: name[0].toUpperCase() + name.slice(1), text,
      vectors: [{ name: `L${layer}H${head}.${name}`, label: `${name} of ${owner}`, values, note: lengthNote(values) }],
      equations: (d) => [row(bold(letter), "=", sup(at(bold("W"), letter.toUpperCase()), "h"), bold("u"), "+", bold("b")),
        ...rowsOf(letter, d, name === "query" ? here : other, values[d], name)],
    });
    const rowsOf = (letter, d, from, value, name) =>
      linearLine(`L${layer}.${name}`, letter, d, from.attention_input, "u", value, { first: head * size });
    const { me } = given;
    return [
      one_("query", "q", take(here.query, head), me, [`What ${me} looks for: W_Q of ${given.name} makes ${size} numbers of the ${here.attention_input.length}.`]),
      one_("key", "k", take(other.key, head), given.them, [`What ${given.them} offers to be found by, made from its own attention_input. Every token has a key.`]),
      one_("value", "v", take(other.value, head), given.them, [`What ${given.them} hands over to whoever looks at it, from the same numbers.`]),
    ];
  }

  /** Rotation by the position: pairs are number k and number k + K/2. */
  function rotated(given, what) {
    const { layer, head, take, model } = given;
    const isQuery = what === "query";
    const from = isQuery ? given.here : given.other;
    const place = isQuery ? given.token : given.otherToken;
    const letter = isQuery ? "q" : "k";
    const plain = take(from[what], head);
    const values = take(from[`rotated_${what}`], head);
    const half = values.length / 2;
    const scale = isQuery ? Math.sqrt(values.length) : 1;
    const owner = isQuery ? given.me : given.them;
    const name = `L${layer}H${head}.rotated_${what}`;
    return {
      name, title: `Rotated ${what}`,
      text: [`${isQuery ? `Divided by √${values.length}, so that scores stay small, and turned` : "Turned"} by the position of ${owner}, ${place} (BOS is 0): numbers k and k + ${half} are a point in a plane, turned by position × θ. So a score depends on how far apart two tokens are.`],
      vectors: [{ name, label: `rotated ${what} of ${owner}`, values, note: lengthNote(values) }],
      equations(d) {
        const k = d % half;
        const mate = d < half ? d + half : k;
        const angle = place * model.frequencies[k];
        const scaled = (factor, ...parts) => (isQuery ? [factor, inBrackets(...parts)] : parts);
        const sign = d < half ? "−" : "+";
        const turned = row(one(row(letter, "′"), d), "=", ...scaled(over(whole(1), root(whole(values.length))),
          one(letter, d), "cos", inBrackets("m", at("θ", k + 1)), sign, one(letter, mate), "sin", inBrackets("m", at("θ", k + 1))));
        const numbers = row("=", ...scaled(over(whole(1), number(scale)),
          term(plain[d]), "×", term(Math.cos(angle)), sign, term(plain[mate]), "×", term(Math.sin(angle))), "=", number(values[d]));
        return [row("m", at("θ", k + 1), "=", whole(place), "×", number(model.frequencies[k]), "=", number(angle)), turned, numbers];
      },
    };
  }

  function scored(given) {
    const { here, other, layer, head, take, otherToken, run } = given;
    const q = take(here.rotated_query, head);
    const k = take(other.rotated_key, head);
    const all = take(here.scores, head);
    const products = q.map((v, d) => v * k[d]);
    const tokens = { labels: given.tokenName, marks: [otherToken], special: [0, all.length - 1], pairs: true };
    const weights = take(here.weights, head);
    const top = Math.max(...all);
    const total = all.reduce((sumOf, s) => sumOf + Math.exp(s - top), 0);
    const name = `L${layer}H${head}`;
    const [residues, special] = [1 - weights[0] - weights[all.length - 1], weights[0] + weights[all.length - 1]];
    return [
      { name: `${name}.scores`, title: "Scores",
        text: [`The score of ${given.me} for ${given.them} is the sum of the products of rotated query and rotated key, number by number: ${app.number(all[otherToken], 4)}. There is one for each of the ${all.length} tokens; bright blue is the picked key, purple are BOS and EOS.`],
        vectors: [{ name: "products", label: "products", values: products }, { name: `${name}.scores`, label: `scores of ${given.me}`, values: all, ...tokens }],
        equations: () => [row(at("s", row("i", "j")), "=", app.math.sub(row(bold("q"), "′"), "i"), "·", app.math.sub(row(bold("k"), "′"), "j"), "=", sum("d"), at(row("q", "′"), "d"), at(row("k", "′"), "d")),
          row("s", "=", writtenOut(q, k, all[otherToken]))] },
      { name: `${name}.weights`, title: "Weights (softmax)",
        text: [`e to the power of each score, divided by the sum over all ${all.length} tokens: weights that sum to 1. (The largest score, ${app.number(top, 4)}, is taken off all of them first; that changes nothing but keeps powers small.) ${given.them} gets ${app.number(weights[otherToken], 4)}, all residues together ${app.number(residues)}, BOS and EOS ${app.number(special)}.`],
        vectors: [{ name: `${name}.weights`, label: `weights of ${given.me}`, values: weights, ...tokens }],
        equations: () => [row(at("w", row("i", "j")), "=", over(sup("e", at("s", row("i", "j"))), row(sum("t"), sup("e", at("s", row("i", "t")))))),
          row("w", "=", over(sup("e", row(number(all[otherToken]), "−", term(top))), number(total)), "=", number(weights[otherToken]))] },
      mixed(given, weights, run),
    ];
  }

  function mixed(given, weights, run) {
    const { here, layer, head, take } = given;
    const values = take(here.head_output, head);
    const size = values.length;
    const all = run.value[layer];
    const of = (t, d) => all[(head * weights.length + t) * size + d];
    const most = app.largestOf(weights, TERMS);
    const name = `L${layer}H${head}.output`;
    return {
      name, title: "Head output",
      text: [`The values of all tokens, each times its weight, added up.${given.off ? ` ${given.name} is switched off: whatever the sum is, 0 is put in its place.` : ""} ${most.map((t) => `${given.tokenName(t)} gives ${app.percent(weights[t])}`).join(", ")}.`],
      vectors: [
        ...most.map((t) => ({ name: `part-${t}`, label: `${app.number(weights[t])} × value of ${given.tokenName(t)}`, values: Float64Array.from({ length: size }, (_, d) => weights[t] * of(t, d)), follows: true })),
        { name, label: `output of L${layer}H${head}`, values, note: lengthNote(values) }],
      equations: (d) => [row(at(bold("o"), "i"), "=", sum("j"), at("w", row("i", "j")), at(bold("v"), "j")),
        row(one("o", d), "=", ...most.flatMap((t, n) => [...(n ? ["+"] : []), number(weights[t]), "×", term(of(t, d))]), ...(weights.length > TERMS ? ["+", "…"] : []), "=", number(values[d]))],
    };
  }

  function afterHeads(given) {
    const { here, layer, head, model, run, before, token, names } = given;
    const heads = here.head_output; // H x K, the heads one after the other
    const size = heads.length / model.heads;
    const added = here.attention_output;
    const x = here.attention_residual;
    const length = run.contribution[layer][head * names.length + token];
    const part = app.headPart(layer, head, given.take(heads, head));
    return [
      { name: `L${layer}.attention_output`, title: "All heads together (W_O)",
        text: [`The outputs of the ${model.heads} heads stand side by side, ${heads.length} numbers; W_O mixes them into what attention adds to the stream. L${layer}H${head} alone adds a vector of length ${app.number(length, 4)}; all heads and the bias one of length ${app.number(app.lengthOf(added), 4)}.`],
        vectors: [
          { name: `L${layer}.head_output`, label: "all heads, side by side", values: heads, range: [head * size, (head + 1) * size] },
          ...(part ? [{ name: `L${layer}H${head}.part`, label: `what L${layer}H${head} alone adds`, values: part, follows: true, note: lengthNote(part) }] : []),
          { name: `L${layer}.attention_output`, label: "attention_output", values: added, note: lengthNote(added) }],
        equations: (d) => [row(bold("a"), "=", sup(bold("W"), "O"), app.math.row("[", at(bold("o"), whole(0)), "|", "…", "|", at(bold("o"), whole(model.heads - 1)), "]"), "+", bold("b")),
          ...linearLine(`L${layer}.output`, "a", d, heads, "o", added[d])] },
      added_(`L${layer}.attention_residual`, "After attention (residual)", before, added, x, ["x", "a", row("x", "′")],
        `What attention found is added to what was there; nothing is overwritten. Length before ${app.number(app.lengthOf(before), 4)}, after ${app.number(app.lengthOf(x), 4)}; cosine of what was there with what was added ${app.number(app.cosineOf(before, added))}.`),
    ];
  }

  const added_ = (name, title, before, added, after, [x, a, y], text) => ({
    name, title, text: [text],
    vectors: [{ name, label: name.replace(/^.*\./, ""), values: after, note: lengthNote(after) }],
    equations: (d) => [row(at(y, "i"), "=", at(x, "i"), "+", at(a, "i")), row(one(y, d), "=", term(before[d]), "+", term(added[d]), "=", number(after[d]))],
  });

  function feedForward(given) {
    const { here, layer } = given;
    const x = here.attention_residual;
    const hidden = here.feed_forward_hidden;
    const out = here.feed_forward_output;
    const active = hidden.reduce((count, v) => count + (v > 0.1 ? 1 : 0), 0);
    const most = app.largestOf(hidden, 5, (v) => v);
    const expanded = here.feed_forward_expanded || null;
    return [
      norm(`L${layer}.feed_forward_input`, "Norm before the feed-forward half", x, here.feed_forward_input, [row("x", "′"), row("u", "′")], app.normWeights(`L${layer}.feed_forward_norm`),
        [`Every token is now worked on alone. First its ${x.length} numbers get mean 0 and variance 1, then a learned gain and bias each.`]),
      { name: `L${layer}.feed_forward_hidden`, title: "Feed-forward: expand, GELU",
        text: [`W_1 makes ${hidden.length} numbers of ${x.length}: units, each looking for one pattern. GELU lets large ones through and takes what is below 0 to nearly 0. ${active} of ${hidden.length} units are above 0.1 here; the most active are ${most.map((i) => `unit ${i + 1} (${app.number(hidden[i])})`).join(", ")}.`],
        vectors: [{ name: `L${layer}.feed_forward_hidden`, label: "feed_forward_hidden", values: hidden, unit: "unit" }],
        equations: (d) => [row(bold("h"), "=", "GELU", inBrackets(at(bold("W"), whole(1)), row(bold("u"), "′"), "+", at(bold("b"), whole(1)))),
          row("GELU", inBrackets("z"), "=", "z", "Φ", inBrackets("z")), "Φ is the normal distribution function.",
          ...(expanded ? linearLine(`L${layer}.expand`, "z", d, here.feed_forward_input, row("u", "′"), expanded[d]) : []),
          expanded
            ? row(one("h", d), "=", term(expanded[d]), "×", "Φ", inBrackets(number(expanded[d])), "=", number(hidden[d]))
            : row(one("h", d), "=", number(hidden[d]))] },
      { name: `L${layer}.feed_forward_output`, title: "Feed-forward: contract",
        text: [`W_2 turns the ${hidden.length} units back into ${out.length} numbers, which are added to the stream. Their length is ${app.number(app.lengthOf(out), 4)}; that of what attention added was ${app.number(app.lengthOf(here.attention_output), 4)}.`],
        vectors: [{ name: `L${layer}.feed_forward_output`, label: "feed_forward_output", values: out, note: lengthNote(out) }],
        equations: (d) => [row(bold("f"), "=", at(bold("W"), whole(2)), bold("h"), "+", at(bold("b"), whole(2))),
          ...linearLine(`L${layer}.contract`, "f", d, hidden, "h", out[d])] },
      added_(`L${layer}.residual`, "After the layer (residual)", x, out, here.residual, [row("x", "′"), "f", row("x", "″")],
        `The stream after layer ${layer}: this is what ${given.last ? "the final norm" : `layer ${layer + 1}`} reads. Length ${app.number(app.lengthOf(here.residual), 4)}, cosine with what came into the layer ${app.number(app.cosineOf(here.residual, given.before))}.`),
    ];
  }

  // --------------------------------------------------------------------------------- the whole

  /** All steps of one layer for a token (query), a token looked at (key) and a head. */
  app.walkLayer = function (given) {
    const { layer, here } = given;
    const size = here.query.length / given.model.heads;
    const take = (values, head) => {
      const length = values.length / given.model.heads;
      return Float64Array.from(values.subarray(head * length, (head + 1) * length));
    };
    const all = { ...given, take, size, name: `L${layer}H${given.head}` };
    const first = norm(`L${layer}.attention_input`, "Norm before attention", given.before, here.attention_input, ["x", "u"], app.normWeights(`L${layer}.attention_norm`),
      [`The ${given.before.length} numbers of ${given.me} get mean 0 and variance 1, then a learned gain and bias each. So every layer reads numbers of one size, however long the stream has grown.`]);
    return [
      layer === 0 ? embedding(all) : arriving(all), first, ...projected(all),
      rotated(all, "query"), rotated(all, "key"), ...scored(all), ...afterHeads(all), ...feedForward(all),
    ];
  };

  /** After the last layer: the final norm, the masked-LM head, probabilities. */
  app.walkEnd = function (given) {
    const { end, model, me } = given;
    const found = [norm("final", "Final norm", given.before, end.final, ["x", "y"], app.normWeights("final_norm"),
      [`After ${model.layers} layers a last norm: these ${end.final.length} numbers are the embedding of ${me} that esmkit gives out, and what the masked-LM head and any fine-tuned classifier read.`])];
    found[0].vectors[0].label = `final state of ${me}`;
    if (!end.logits) return found;
    const letters = Array.from("ACDEFGHIKLMNPQRSTVWY");
    const logits = letters.map((letter) => end.logits[model.tokens.indexOf(letter)]);
    const top = Math.max(...logits);
    const total = logits.reduce((sumOf, v) => sumOf + Math.exp(v - top), 0);
    const shares = Float64Array.from(logits, (v) => Math.exp(v - top) / total);
    const order = app.largestOf(shares, 3);
    found.push(
      { name: "lm_hidden", title: "Masked-LM head: dense, GELU", text: ["The head that learned to guess hidden residues begins with one more matrix and GELU."],
        vectors: [{ name: "lm_hidden", label: "lm_hidden", values: end.lm_hidden, note: lengthNote(end.lm_hidden) }],
        equations: (d) => [row(bold("g"), "=", "GELU", inBrackets(bold("W"), bold("y"), "+", bold("b"))),
          ...linearLine("lm_dense", "z", d, end.final, "y", end.lm_dense[d]),
          row(one("g", d), "=", term(end.lm_dense[d]), "×", "Φ", inBrackets(number(end.lm_dense[d])), "=", number(end.lm_hidden[d]))] },
      norm("lm_normed", "Masked-LM head: norm", end.lm_hidden, end.lm_normed, ["g", "n"], app.normWeights("lm_norm"), ["One more norm, as in every layer."]),
      { name: "logits", title: "Logits",
        text: [`The product with each row of the embedding table, and a bias: a token's logit is large where the state points the way its embedding does. There are ${end.logits.length}, one for each token of the alphabet.`],
        vectors: [{ name: "logits", label: `logits at ${me}`, values: end.logits, labels: (i) => model.tokens[i], highest: true }],
        equations: (d) => [row(at("z", "a"), "=", at(bold("E"), "a"), "·", bold("n"), "+", at("b", "a"), word(",  a the token "), word(model.tokens[d])),
          ...linearLine("lm_decoder", "z", d, end.lm_normed, "n", end.logits[d], { weights: model.tensors["lm_decoder.weight"] ? undefined : "embedding" })] },
      { name: "probabilities", title: "Probabilities of the 20 amino acids",
        text: [`The softmax over the 20 amino acids: ${order.map((i) => `${letters[i]} ${app.percent(shares[i])}`).join(", ")}.${given.visible ? ` ${me} was in sight: these are no blind guesses. “Hide it and ask”, at What the model expects, makes one.` : " It was hidden: a blind guess from all other residues."}`],
        vectors: [{ name: "probabilities", label: `probabilities at ${me}`, values: shares, labels: (i) => letters[i], share: true }],
        equations: (d) => [row(at("p", "a"), "=", over(sup("e", at("z", "a")), row(sum("b"), sup("e", at("z", "b"))))),
          row(at("p", word(letters[d])), "=", over(sup("e", row(number(logits[d]), "−", term(top))), number(total)), "=", number(shares[d]))] });
    return found;
  };

  app.pickedOf = (step, picked) => {
    const { values, highest } = step.vectors.at(-1);
    if (picked !== undefined && picked < values.length) return picked;
    return app.largestOf(values, 1, highest ? (v) => v : Math.abs)[0];
  };
})(esmkitExplorer);
