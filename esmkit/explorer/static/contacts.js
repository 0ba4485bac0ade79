"use strict";
// The predicted contact map, beside the true one, and how good it is.

(function (app) {
  let plot = null;
  let block = 1;

  function paint() {
    if (!plot) return;
    block = app.blockFor(plot);
    const size = app.residues;
    const across = Math.ceil(size / block);
    const palette = app.palette();
    const truth = app.structure ? app.ramp(app.colour("--truth"))[255] : 0;
    const pixels = new Uint32Array(across * across);
    for (let row = 0; row < across; row++)
      for (let column = 0; column < across; column++) {
        let value = NaN;
        let touch = false;
        let missing = false;
        for (let i = row * block; i < Math.min(size, (row + 1) * block); i++)
          for (let j = column * block; j < Math.min(size, (column + 1) * block); j++) {
            if (app.structure && i > j) {
              touch ||= app.isContact(i, j);
              missing ||= Number.isNaN(app.distance(i, j));
            } else {
              const one = app.probability(i, j);
              if (!(one <= value) && one === one) value = one;
              missing ||= i !== j && Number.isNaN(one);
            }
          }
        let colour = palette[0];
        if (touch) colour = truth;
        else if (value === value) colour = palette[Math.round(255 * value)];
        else if (missing) colour = app.UNKNOWN;
        pixels[row * across + column] = colour;
      }
    app.showImage("contacts-image", pixels, across, across, block);
  }

  function scores() {
    const place = app.byId("scores");
    const rows = app.structure && app.store.scores();
    const parts = [];
    if (rows) {
      const table = app.make("table", null, { class: "scores" });
      table.append(app.make("caption", "Precision of the top pairs by range"));
      const head = app.make("tr");
      for (const title of ["Range", "P@L", "highest possible", "P@L/2", "P@L/5", "by chance", "true contacts"])
        head.append(app.make("th", title, { scope: "col" }));
      table.append(head);
      const ranges = { short: "short, 6 to 11 apart", medium: "medium, 12 to 23", long: "long, 24 and more" };
      for (const row of rows) {
        const line = app.make("tr", null, { "data-range": row.range });
        line.append(app.make("th", ranges[row.range], { scope: "row" }));
        for (const name of ["P@L", "ceiling P@L", "P@L/2", "P@L/5", "background"])
          line.append(app.make("td", app.number(row[name], 2)));
        line.append(app.make("td", String(row.contacts)));
        table.append(line);
      }
      parts.push(table, app.make("p", `L is ${app.structure.resolved}, the resolved residues of ${app.structure.name}. P@L is the share of true contacts among the L likeliest pairs of a range; fewer true contacts than L put its ceiling below 1.`, { class: "muted" }));
      parts.push(app.make("p", "", { id: "head-score" }));
    } else parts.push(app.make("p", app.data.structure ? "The structure is not of this sequence, so there is nothing to score it on." : "Without a structure there is nothing to score it on: add one with --structure.", { class: "muted" }));
    place.replaceChildren(...parts);
  }

  function headScore() {
    const place = app.byId("head-score");
    if (!place) return;
    const head = app.heads.get(app.state.head);
    const best = [...app.data.heads].sort((a, b) => (b.precision_half ?? -1) - (a.precision_half ?? -1))[0];
    place.textContent =
      `${head.name} alone, symmetric and corrected: long-range P@L ${app.number(head.precision, 2)}, P@L/2 ${app.number(head.precision_half, 2)}. ` +
      (best.precision_half === null || best.precision_half === undefined ? "" : `The best head of this page by P@L/2 is ${best.name} with ${app.number(best.precision_half, 2)}, chosen on this protein.`);
  }

  app.startContacts = function () {
    if (!app.data.contacts) {
      app.byId("contacts-text").textContent = "These weights have no contact head, so there is no prediction; the maps of single heads are above.";
      app.byId("contacts-body").hidden = true;
      return;
    }
    plot = app.part("contacts");
    const words = () => {
      app.byId("contacts-true").hidden = !app.structure;
      app.byId("contacts-text").textContent =
        `Above the diagonal the score, 0 to 1, of the ${app.data.contacts.source}: higher where a contact is likelier, but no frequency of contacts. ` +
        (app.structure
          ? `Below it the true contacts of ${app.structure.name}: Cβ closer than 8 Å (Cα for glycine). Grey is not known.`
          : "The map is symmetric.");
      scores();
      headScore();
    };
    words();
    app.follow(["head", "summaries"], headScore);
    const labels = () => {
      const [along, down] = app.structure ? ["predicted, above the diagonal", "true, below the diagonal"] : ["residue", "residue"];
      for (const axis of plot.above) if (axis.type.endsWith("Axis")) axis.axis_label = along;
      for (const axis of plot.left) if (axis.type.endsWith("Axis")) axis.axis_label = down;
    };
    app.follow(["run"], () => {
      words();
      labels();
      app.strips("contacts");
      paint();
    });
    app.followTheme(() => {
      app.strips("contacts");
      paint();
      app.drawBar(app.byId("contacts-bar"));
    });
    app.on("contacts", "mousemove", app.hoverPair);
    app.on("contacts", "mouseleave", () => app.tip(null));
    app.on("contacts", "tap", app.pickPair);
    for (const range of [plot.x_range, plot.y_range])
      range.change.connect(() => app.blockFor(plot) !== block && paint());
  };
})(esmkitExplorer);
