"use strict";
(async () => {
  const $ = id => document.getElementById(id);

  // The trace, its drawing, and where everything is in time.

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(id).textContent.trim()), c => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }
  const { drawing, hosts: only, from: first, to: last, states } = JSON.parse(await unpack("drawing"));
  const lines = (await unpack("trace")).split("\n");
  const at = new Float64Array(lines.length);
  for (let i = 0; i < lines.length; i++) at[i] = parseFloat(lines[i]);
  const over = Math.max(at[at.length - 1], 1);
  const time = line => line < 0 ? over : at[line];
  const names = drawing.names;
  const hosts = drawing.hosts.filter(h => !only || !only.length || only.includes(h.name));
  const laneOf = new Map(hosts.map((h, i) => [drawing.hosts.indexOf(h), i]));
  for (const key of ["messages", "marks", "violations", "kinds"]) drawing[key] = drawing[key] || [];
  for (const h of hosts) for (const key of ["leads", "daemon", "paths", "bars", "commits", "calls"]) h[key] = h[key] || [];

  const second = 1e9;
  const routineKinds = new Set(["heartbeat", "bye"]);

  // parts splits a line.
  function parts(i) {
    const line = lines[i], a = line.indexOf(" "), b = line.indexOf(" ", a + 1);
    return { host: line.slice(a + 1, b), sign: line[b + 1], what: line.slice(b + 3) };
  }
  const isID = w => w.length === 25 && /^[0-9a-z]+$/.test(w);

  // readable renders what happened as swarmsim show does.
  function readable(what) {
    if (what.startsWith("host ")) return what;
    const told = / (report|assign) /.test(what);
    let before = "";
    return what.split(" ").map(word => {
      const was = before;
      before = word;
      if (told && isID(was)) return states[word] || word;
      const m = /^([^\/]*\/)?([^.:]*)(.*)$/s.exec(word), kind = m[1] || "", id = m[2];
      if (names[id]) return kind + names[id] + (isID(id) && /\./.test(names[id]) ? `(${id.slice(0, 7)})` : "") + m[3];
      if (isID(id)) return kind + id.slice(0, 7) + m[3];
      if (/^[0-9]{12,}$/.test(word)) return word.slice(0, 5) + "…";
      return word;
    }).join(" ");
  }
  const quietWords = new Set(["woken", "verify", "verified", "publish", "network-applied", "apply-network"]);
  function routine(p) {
    if (p.sign === "!" || p.sign === "#") return false;
    const words = p.what.split(" ", 3);
    return quietWords.has(words[0]) || /^(send|received)$/.test(words[0]) && routineKinds.has(words[2]);
  }
  function look(p) {
    const word = p.what.split(" ", 1)[0];
    if (p.sign === "!") return word === "raft:" ? "lead" : /^(line|done:|host|user:)$/.test(word) ? "command" : "fault";
    if (word === "violated:") return "broken";
    if (p.sign === "#") return "note";
    if (/^(elected|deposed|leader-changed)$/.test(word)) return "lead";
    if (/^(committed|propose)$/.test(word)) return "log";
    return routine(p) ? "quiet" : "";
  }
  // lineAt is the last line that is not after a time.
  function lineAt(t) {
    let lo = 0, hi = lines.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; at[mid] <= t ? lo = mid + 1 : hi = mid; }
    return Math.max(0, lo - 1);
  }
  // firstOf is the index of the first of sorted things that is not before a time.
  function firstOf(list, t, when) {
    let lo = 0, hi = list.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; when(list[mid]) < t ? lo = mid + 1 : hi = mid; }
    return lo;
  }

  for (const m of drawing.marks) m.text = readable(m.text);

  // Lanes: containers are packed into rows.

  const services = new Map();
  for (const h of hosts) {
    const free = [];
    for (const b of h.bars) {
      const start = time(b.from), service = b.label.replace(/\.[^.]*$/, "");
      if (!services.has(service)) services.set(service, services.size);
      b.colour = services.get(service) % 8;
      let row = free.findIndex(t => t <= start);
      if (row < 0) row = free.length;
      free[row] = time(b.to);
      b.row = row;
    }
    h.rows = free.length;
  }
  // Messages that are long under way are few, and are looked at one by one.
  const usual = second, messages = [], slowMessages = [];
  for (const m of drawing.messages) {
    if (!laneOf.has(m[1]) || !laneOf.has(m[3])) continue;
    const x = { kind: drawing.kinds[m[0]], from: laneOf.get(m[1]), sent: m[2], to: laneOf.get(m[3]), came: m[4] };
    x.routine = routineKinds.has(x.kind);
    (x.came >= 0 && at[x.came] - at[x.sent] > usual ? slowMessages : messages).push(x);
  }
  messages.sort((a, b) => a.sent - b.sent);

  // What is seen.

  const canvas = $("canvas"), draw2d = canvas.getContext("2d");
  const gutter = 130, axis = 28, stepRows = 3, faultRows = 3, storyRow = 20, overview = 36, head = 22, pad = 10;
  const top = axis + (stepRows + faultRows) * storyRow + 8;
  const margin = over * 0.015;
  const whole = { from: -margin, to: over + margin };
  const view = { from: first > 0 ? first : whole.from, to: last > 0 ? last : whole.to, scroll: 0 };
  let width = 0, height = 0, lanes = [], laneTotal = 0, hits = [], segments = [];
  let chosen = { line: -1, pair: -1 }, found = [], foundAt = -1, query = "", colours = {}, planned = false;

  const X = t => gutter + (t - view.from) / (view.to - view.from) * (width - gutter);
  const T = x => view.from + (x - gutter) / (width - gutter) * (view.to - view.from);

  function arrange() {
    const room = height - top - overview;
    let row = 8;
    for (const candidate of [22, 18, 14, 11]) {
      if (hosts.reduce((sum, h) => sum + head + pad + h.rows * candidate, 0) <= Math.max(room, 1) * 1.6) { row = candidate; break; }
    }
    let y = 0;
    lanes = hosts.map(h => {
      const lane = { y, row, height: head + pad + h.rows * row };
      y += lane.height;
      return lane;
    });
    laneTotal = y;
    view.scroll = Math.max(0, Math.min(view.scroll, laneTotal - room));
    $("gutter").style.top = top + "px";
    $("gutter").style.height = Math.max(0, room) + "px";
    const byName = new Map(hosts.map((h, i) => [h.name, lanes[i]]));
    for (const li of document.querySelectorAll(".lane")) {
      const lane = byName.get(li.dataset.host);
      li.hidden = !lane;
      if (lane) li.style.top = lane.y + "px";
    }
  }
  function resize() {
    const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    width = box.width; height = box.height;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    draw2d.setTransform(ratio, 0, 0, ratio, 0, 0);
    arrange();
    paint(); // a canvas that was resized is empty
  }
  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; paint(); });
  }
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    colours = {};
    for (const name of ["paper", "lane", "rule", "ink", "soft", "panel", "leads", "leads-fill", "up", "down", "paused", "paths", "commit", "call", "fault", "fault-fill", "step", "broken", "broken-fill", "message", "report", "assign", "mark", "lost", "text-on-bar", "bar-0", "bar-1", "bar-2", "bar-3", "bar-4", "bar-5", "bar-6", "bar-7"]) {
      colours[name] = style.getPropertyValue("--" + name).trim();
    }
  }

  // Painting. What can be clicked is noted as it is painted.

  const font = (size, weight) => `${weight || ""} ${size}px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif`;
  function hit(x0, y0, x1, y1, line, text, pair) { hits.push([x0, y0, x1, y1, line, text, pair === undefined ? -1 : pair]); }
  function fill(colour, x, y, w, h) { draw2d.fillStyle = colour; draw2d.fillRect(x, y, w, h); }
  function write(text, x, y, colour, size, weight) { draw2d.font = font(size, weight); draw2d.fillStyle = colour; draw2d.fillText(text, x, y); }
  function fit(text, room, size, weight) {
    draw2d.font = font(size, weight);
    if (draw2d.measureText(text).width <= room) return text;
    let lo = 0, hi = text.length;
    while (lo < hi) { const mid = (lo + hi + 1) >> 1; draw2d.measureText(text.slice(0, mid) + "…").width <= room ? lo = mid : hi = mid - 1; }
    return lo > 0 ? text.slice(0, lo) + "…" : "";
  }
  function clip(x, y, w, h, what) {
    draw2d.save(); draw2d.beginPath(); draw2d.rect(x, y, w, h); draw2d.clip(); what(); draw2d.restore();
  }

  function paint() {
    hits = []; segments = [];
    draw2d.textBaseline = "middle";
    fill(colours.paper, 0, 0, width, height);
    paintAxis();
    const room = height - top - overview;
    clip(0, top, width, room, () => {
      hosts.forEach(paintFloor);
      if ($("messages").checked) paintMessages(); else $("sampled").textContent = "";
      hosts.forEach(paintLane);
    });
    clip(gutter, 0, width - gutter, height - overview, paintStory);
    paintOverview();
    $("lanes").style.transform = `translateY(${-view.scroll}px)`;
  }
  function steps() {
    const least = (view.to - view.from) / (width - gutter) * 90;
    for (let unit = 1; ; unit *= 10) for (const k of [1, 2, 5]) if (unit * k >= least) {
      const step = unit * k;
      if (step < 60 * second) return step;
      for (const s of [60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 432000, 864000, 1728000]) if (s * second >= least) return s * second;
      return step;
    }
  }
  function tick(t, step) {
    const s = Math.round(t / step) * step / second;
    if (step >= 86400 * second) return Math.round(s / 86400) + " d";
    if (step >= 3600 * second) return Math.round(s / 3600) + " h";
    if (step >= 60 * second) return Math.round(s / 60) + " min";
    return s.toFixed(Math.max(0, Math.ceil(-Math.log10(step / second) - 1e-9))) + " s";
  }
  const clock = t => (t / second).toFixed(6) + " s";
  function paintAxis() {
    const step = steps();
    for (let t = Math.max(0, Math.ceil(view.from / step) * step); t <= view.to; t += step) {
      const x = X(t);
      if (x < gutter) continue;
      fill(colours.rule, x, axis - 6, 1, height - overview - axis + 6);
      draw2d.textAlign = "center";
      if (x > gutter + 10) write(tick(t, step), x, axis / 2 - 1, colours.soft, 13.5);
      draw2d.textAlign = "left";
    }
    fill(colours.rule, 0, axis, width, 1);
    write("commands", 16, axis + stepRows * storyRow / 2 + 2, colours.soft, 14);
    write("faults", 16, axis + (stepRows + faultRows / 2) * storyRow + 4, colours.soft, 14);
    fill(colours.rule, 0, top - 1, width, 1);
  }
  // paintStory writes commands and faults, each where its row has room.
  function paintStory() {
    const ends = { step: Array(stepRows).fill(null), fault: Array(faultRows).fill(null) };
    const seen = drawing.marks.filter(m => m.kind !== "done" && at[m.line] >= view.from && at[m.line] <= view.to);
    const labels = [];
    for (const m of seen) {
      const x = X(at[m.line]), isStep = m.kind === "step" || m.kind === "user", rows = isStep ? ends.step : ends.fault;
      const twin = labels.findLast(l => l.rows === rows);
      if (twin && at[twin.m.line] === at[m.line] && (!isStep || rows.every(l => l && l.x === x))) {
        twin.more++;
        continue;
      }
      let row = rows.findIndex(l => !l || l.x + l.w + 6 <= x); // or else the row whose label is cut off last
      if (row < 0) row = rows.reduce((best, l, i) => l.x < rows[best].x ? i : best, 0);
      const l = { m, x, y: axis + 3 + row * storyRow + (isStep ? 0 : stepRows * storyRow + 3), isStep, rows, more: 0, room: 420 };
      draw2d.font = font(13.5);
      l.w = Math.min(420, draw2d.measureText(m.text).width + 42);
      if (rows[row]) rows[row].room = x - rows[row].x - 6;
      rows[row] = l;
      labels.push(l);
    }
    for (const l of labels) {
      const ink = l.isStep ? colours.step : colours.fault, more = l.more ? ` +${l.more}` : "";
      const text = l.room < 36 ? "" : fit(l.m.text, Math.min(l.room, 420) - 12 - 12 * more.length, 13.5) + more;
      draw2d.font = font(13.5);
      const w = text ? draw2d.measureText(text).width + 12 : Math.max(2, Math.min(l.room, 8)), left = l.x + w > width && text ? l.x - w : l.x;
      if (!l.isStep) fill(colours["fault-fill"], left, l.y, w, storyRow - 2);
      else if (left < l.x) fill(colours.paper, left, l.y, w, storyRow - 2);
      fill(ink, l.x, l.y, 2, storyRow - 2);
      write(text, left + (left < l.x ? 3 : 7), l.y + storyRow / 2 - 1, ink, 13.5);
      hit(left - 2, l.y, left + w, l.y + storyRow, l.m.line, l.m.text + (l.more ? `, and ${l.more} more` : ""));
    }
    for (const line of drawing.violations) {
      const x = X(at[line]);
      if (x < gutter - 1 || x > width + 1) continue;
      fill(colours.broken, x - 1, axis - 8, 2.5, height);
      const text = "✗ " + fit(readable(parts(line).what.replace(/^violated: /, "")), Math.min(760, width - gutter - 40), 14, 600);
      draw2d.font = font(14, 600);
      const w = draw2d.measureText(text).width + 14, left = x + w > width - 8 ? x - w : x, y = height - overview - 34;
      fill(colours["broken-fill"], left, y, w, 24);
      draw2d.strokeStyle = colours.broken; draw2d.strokeRect(left + .5, y + .5, w - 1, 23);
      write(text, left + 7, y + 12, colours.broken, 14, 600);
      hit(left, y, left + w, y + 24, line, readable(parts(line).what));
      hit(x - 4, axis, x + 4, height - overview, line, readable(parts(line).what));
    }
    if (chosen.line >= 0) {
      const x = X(at[chosen.line]);
      draw2d.strokeStyle = colours.ink; draw2d.setLineDash([4, 4]);
      draw2d.beginPath(); draw2d.moveTo(x + .5, axis); draw2d.lineTo(x + .5, height); draw2d.stroke();
      draw2d.setLineDash([]);
    }
  }
  function hatch(colour, x, y, w, h) {
    clip(x, y, w, h, () => {
      draw2d.globalAlpha = .22; fill(colour, x, y, w, h); draw2d.globalAlpha = .8;
      draw2d.strokeStyle = colour; draw2d.lineWidth = 1;
      draw2d.beginPath();
      for (let a = Math.floor(x / 8) * 8 - h; a < x + w + h; a += 8) { draw2d.moveTo(a, y + h); draw2d.lineTo(a + h, y); }
      draw2d.stroke(); draw2d.globalAlpha = 1;
    });
  }
  // span calls what with the part of a span that is seen.
  function span(s, what) {
    const from = time(s.from), to = time(s.to);
    if (to < view.from || from > view.to) return;
    const x0 = Math.max(gutter, X(from)), x1 = Math.min(width, X(to));
    what(x0, Math.max(2, x1 - x0));
  }
  function seenLane(i) {
    const y = top + lanes[i].y - view.scroll;
    return y <= height - overview && y + lanes[i].height >= top;
  }
  // paintFloor paints what lies below messages.
  function paintFloor(h, i) {
    if (!seenLane(i)) return;
    const lane = lanes[i], y = top + lane.y - view.scroll;
    draw2d.globalAlpha = .75; fill(colours.lane, gutter, y, width - gutter, lane.height - 1); draw2d.globalAlpha = 1;
    fill(colours.rule, 0, y + lane.height - 1, width, 1);
    clip(gutter, y, width - gutter, lane.height, () => {
      h.leads.forEach(s => span(s, (x, w) => {
        fill(colours["leads-fill"], x, y, w, lane.height - 1);
        fill(colours.leads, x, y, w, 3);
        hit(x, y, x + w, y + lane.height, s.from, `${h.name} leads term ${s.text}, ${clock(time(s.from))} to ${clock(time(s.to))}`);
      }));
      span({ from: 0, to: -1 }, (x, w) => fill(colours.up, x, y + head - 4, w, 2));
      h.daemon.forEach(s => span(s, (x, w) => hatch(s.text === "down" ? colours.down : colours.paused, x, y + 3, w, lane.height - 6)));
    });
  }
  function paintLane(h, i) {
    if (!seenLane(i)) return;
    const lane = lanes[i], y = top + lane.y - view.scroll;
    clip(gutter, y, width - gutter, lane.height, () => {
      h.leads.forEach(s => span(s, (x, w) => {
        const text = ["leads, term " + s.text, "term " + s.text, s.text].find(t => fit(t, w - 8, 13, 600) === t) || "";
        write(text, x + 5, y + 11, colours.leads, 13, 600);
      }));
      const middle = y + head - 3;
      h.daemon.forEach(s => span(s, (x, w) => {
        write(fit(s.text, w - 10, 13, 600) === s.text ? s.text : "", x + 6, y + 11, s.text === "down" ? colours.ink : colours.paused, 13, 600);
        hit(x, y, x + w, y + head, s.from, `${h.name}'s daemon is ${s.text}, ${clock(time(s.from))} to ${clock(time(s.to))}`);
      }));
      h.paths.forEach(s => span(s, (x, w) => {
        fill(colours.paths, x, middle + 2, w, 3);
        hit(x, middle, x + w, middle + 6, s.from, `${h.name}: ${s.text}`);
      }));
      paintBars(h, lane, y);
      paintTicks(h, y);
    });
  }
  function paintBars(h, lane, y) {
    for (const b of h.bars) span(b, (x, w) => {
      const top = y + head + 3 + b.row * lane.row, tall = lane.row - 3;
      fill(colours["bar-" + b.colour], x, top, w, tall);
      const failed = b.to >= 0 && b.code !== 0 && b.code !== 143;
      if (b.to >= 0 && X(time(b.to)) <= width) fill(failed ? colours.broken : colours.soft, x + w - 2, top, 2, tall);
      if (lane.row >= 14 && w > 26) write(fit(b.label, w - 8, Math.min(13.5, lane.row - 5)), x + 5, top + tall / 2 + .5, colours["text-on-bar"], Math.min(13.5, lane.row - 5));
      const life = (time(b.to) - time(b.from)) / second;
      hit(x - 1, top, x + w + 1, top + lane.row - 1, b.from, `${b.label} on ${h.name} (task ${b.task.slice(0, 7)}): runs from ${clock(time(b.from))}, ` + (b.to < 0 ? "to the end" : `for ${life.toFixed(3)} s, ended with ${b.code}`), b.to);
    });
  }
  function paintTicks(h, y) {
    const when = line => at[line];
    if ($("commits").checked) {
      let before = -9;
      for (let k = firstOf(h.commits, view.from, when); k < h.commits.length; k++) {
        const line = h.commits[k], x = Math.round(X(at[line]));
        if (x > width) break;
        if (x <= before + 1) continue;
        before = x;
        fill(colours.commit, x, y + head - 8, 1.5, 9);
        hit(x - 2, y + head - 9, x + 3, y + head + 2, line, h.name + " applied " + readable(parts(line).what).slice(0, 200));
      }
    }
    let before = -9;
    for (let k = firstOf(h.calls, view.from, when); k < h.calls.length; k++) {
      const line = h.calls[k], x = X(at[line]);
      if (x > width) break;
      if (x < before + 3) continue;
      before = x;
      draw2d.fillStyle = colours.call; draw2d.beginPath(); draw2d.arc(x, y + head - 4, 4, 0, 7); draw2d.fill();
      hit(x - 5, y + head - 10, x + 5, y + head + 2, line, h.name + " was " + readable(parts(line).what));
    }
    before = -9;
    for (const m of drawing.marks) {
      if (m.kind !== "fault" || at[m.line] < view.from || at[m.line] > view.to) continue;
      if (!m.hosts.some(n => drawing.hosts[n] === h)) continue;
      const x = X(at[m.line]), r = x < before + 9 ? 3.5 : 6; // small ones where they crowd
      if (x < before + 4) continue;
      before = x;
      draw2d.fillStyle = colours.fault; draw2d.beginPath();
      draw2d.moveTo(x, y + head - 4 - r); draw2d.lineTo(x + r, y + head - 4); draw2d.lineTo(x, y + head - 4 + r); draw2d.lineTo(x - r, y + head - 4); draw2d.fill();
      hit(x - 6, y + head - 10, x + 6, y + head + 2, m.line, m.text);
    }
  }
  const drawnMost = 1500;
  function paintMessages() {
    const routine = $("routine").checked;
    const seen = [];
    for (let k = firstOf(messages, view.from - usual, m => at[m.sent]); k < messages.length && at[messages[k].sent] <= view.to; k++) {
      if (routine || !messages[k].routine) seen.push(messages[k]);
    }
    for (const m of slowMessages) if (at[m.sent] <= view.to && at[m.came] >= view.from && (routine || !m.routine)) seen.push(m);
    const each = Math.ceil(seen.length / drawnMost), heads = seen.length <= 300;
    $("sampled").textContent = each > 1 ? `· one message in ${each} is drawn` : "";
    const middle = i => top + lanes[i].y - view.scroll + head - 4;
    draw2d.lineWidth = 1;
    for (let k = 0; k < seen.length; k += each) {
      const m = seen[k], y0 = middle(m.from), x0 = X(at[m.sent]);
      let y1 = middle(m.to), x1 = m.came < 0 ? x0 : X(at[m.came]);
      const lost = m.came < 0, colour = lost ? colours.lost : m.kind === "report" ? colours.report : m.kind === "assign" ? colours.assign : colours.message;
      if (lost) { y1 = y0 + Math.sign(y1 - y0) * Math.min(18, Math.abs(y1 - y0)); x1 = x0 + 6; }
      if (Math.max(x0, x1) < gutter) continue;
      draw2d.strokeStyle = draw2d.fillStyle = colour;
      draw2d.globalAlpha = lost ? .8 : seen.length < 60 ? .9 : heads ? .6 : .3;
      clip(gutter, top, width - gutter, height, () => {
        draw2d.beginPath(); draw2d.moveTo(x0, y0); draw2d.lineTo(x1, y1);
        if (lost) { draw2d.moveTo(x1 - 3, y1 - 3); draw2d.lineTo(x1 + 3, y1 + 3); draw2d.moveTo(x1 + 3, y1 - 3); draw2d.lineTo(x1 - 3, y1 + 3); }
        draw2d.stroke();
        if (heads && !lost) {
          const a = Math.atan2(y1 - y0, x1 - x0);
          draw2d.beginPath(); draw2d.moveTo(x1, y1);
          draw2d.lineTo(x1 - 8 * Math.cos(a - .35), y1 - 8 * Math.sin(a - .35)); draw2d.lineTo(x1 - 8 * Math.cos(a + .35), y1 - 8 * Math.sin(a + .35)); draw2d.fill();
        }
      });
      draw2d.globalAlpha = 1;
      segments.push([x0, y0, x1, y1, m]);
    }
  }
  // paintOverview shows the whole run, and which part of it is seen.
  function paintOverview() {
    const y = height - overview, W = width - gutter, x = t => gutter + (t - whole.from) / (whole.to - whole.from) * W;
    fill(colours.lane, 0, y, width, overview);
    fill(colours.rule, 0, y, width, 1);
    write("whole run", 16, y + overview / 2, colours.soft, 14);
    for (const h of hosts) for (const s of h.leads) fill(colours["leads-fill"], x(time(s.from)), y + 4, Math.max(1, x(time(s.to)) - x(time(s.from))), overview - 8);
    for (const m of drawing.marks) if (m.kind === "fault") fill(colours.fault, x(at[m.line]), y + 6, 1.5, overview - 12);
    let before = -9;
    for (const line of found) {
      const a = Math.round(x(at[line]));
      if (a !== before) fill(colours.paused, before = a, y + overview - 10, 2, 8);
    }
    for (const line of drawing.violations) fill(colours.broken, x(at[line]) - 1, y + 2, 3, overview - 4);
    const a = Math.max(gutter, x(view.from)), b = Math.min(width, x(view.to));
    draw2d.globalAlpha = .5; fill(colours.paper, gutter, y + 1, a - gutter, overview); fill(colours.paper, b, y + 1, width - b, overview); draw2d.globalAlpha = 1;
    draw2d.strokeStyle = colours.soft; draw2d.lineWidth = 1.5; draw2d.strokeRect(a + 1, y + 2, Math.max(3, b - a - 2), overview - 4); draw2d.lineWidth = 1;
  }

  // Moving.

  const closest = 2e3; // 2 µs from edge to edge
  function show(from, to) {
    let wide = Math.max(closest, Math.min(to - from, whole.to - whole.from));
    from = Math.max(whole.from, Math.min(from, whole.to - wide));
    view.from = from; view.to = from + wide;
    plan();
  }
  function zoom(factor, x) {
    const t = x === undefined ? (view.from + view.to) / 2 : T(Math.max(gutter, x));
    show(t - (t - view.from) * factor, t + (view.to - t) * factor);
  }
  function pan(pixels) { const dt = pixels / (width - gutter) * (view.to - view.from); show(view.from + dt, view.to + dt); }
  function scroll(pixels) { view.scroll += pixels; arrange(); plan(); }
  function reveal(line) {
    const t = at[line], wide = view.to - view.from;
    if (t < view.from + wide * .03 || t > view.to - wide * .03) show(t - wide / 2, t + wide / 2);
    const lane = lanes[hosts.findIndex(h => h.name === parts(line).host)];
    const room = height - top - overview;
    if (lane && (lane.y < view.scroll || lane.y + head > view.scroll + room)) scroll(lane.y - room / 2 - view.scroll);
    plan();
  }
  let drag = null;
  canvas.addEventListener("pointerdown", e => {
    canvas.setPointerCapture(e.pointerId);
    const inOverview = e.offsetY > height - overview;
    drag = { x: e.offsetX, y: e.offsetY, moved: false, overview: inOverview };
    if (inOverview) jump(e.offsetX);
  });
  function jump(x) {
    const t = whole.from + (x - gutter) / (width - gutter) * (whole.to - whole.from), half = (view.to - view.from) / 2;
    show(t - half, t + half);
  }
  canvas.addEventListener("pointermove", e => {
    if (drag) {
      if (drag.overview) return jump(e.offsetX);
      const dx = e.offsetX - drag.x, dy = e.offsetY - drag.y;
      if (drag.moved || Math.hypot(dx, dy) > 4) { drag.moved = true; pan(-dx); scroll(-dy); drag.x = e.offsetX; drag.y = e.offsetY; }
      return;
    }
    const thing = under(e.offsetX, e.offsetY), tip = $("tip");
    tip.hidden = !thing || !thing.text;
    if (tip.hidden) return;
    tip.textContent = thing.text.slice(0, 400);
    tip.style.left = Math.max(0, Math.min(e.offsetX + 14, width - tip.offsetWidth - 8)) + "px";
    tip.style.top = (e.offsetY + 22 + tip.offsetHeight > height ? e.offsetY - tip.offsetHeight - 10 : e.offsetY + 18) + "px";
  });
  canvas.addEventListener("pointerleave", () => $("tip").hidden = true);
  canvas.addEventListener("pointerup", e => {
    const was = drag;
    drag = null;
    if (!was || was.moved || was.overview) return;
    const thing = under(e.offsetX, e.offsetY) || nearest(e.offsetX, e.offsetY);
    if (thing) choose(thing.line, thing.pair, thing.text);
  });
  canvas.addEventListener("dblclick", e => zoom(.35, e.offsetX));
  canvas.addEventListener("wheel", e => {
    e.preventDefault();
    const scale = e.deltaMode ? 30 : 1, tall = laneTotal > height - top - overview;
    if (e.ctrlKey || e.metaKey || !e.shiftKey && !e.deltaX && !tall) zoom(Math.exp(e.deltaY * scale / 400), e.offsetX);
    else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan((e.deltaX || e.deltaY) * scale);
    else scroll(e.deltaY * scale);
  }, { passive: false });

  // under is what was painted last at a point.
  function under(x, y) {
    for (let i = hits.length - 1; i >= 0; i--) {
      const h = hits[i];
      if (x >= h[0] && x <= h[2] && y >= h[1] && y <= h[3] && !(y > top && y < axis)) return { line: h[4], text: h[5], pair: h[6] };
    }
    let best = null, least = 4;
    for (const [x0, y0, x1, y1, m] of segments) {
      const dx = x1 - x0, dy = y1 - y0, k = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
      const d = Math.hypot(x - x0 - k * dx, y - y0 - k * dy);
      if (d < least) { least = d; best = m; }
    }
    if (!best) return null;
    const way = best.came < 0 ? "not received" : `${((at[best.came] - at[best.sent]) / 1e6).toFixed(3)} ms under way`;
    return { line: best.sent, pair: best.came, text: `${hosts[best.from].name} → ${hosts[best.to].name}: ${readable(parts(best.sent).what).replace(/^send \S+ /, "")} (${way})` };
  }
  // nearest is the line closest to a point of a lane.
  function nearest(x, y) {
    if (x < gutter || y < axis) return null;
    const lane = lanes.findIndex(l => y >= top + l.y - view.scroll && y < top + l.y - view.scroll + l.height);
    const t = T(x), start = lineAt(t);
    let best = start;
    if (lane >= 0) for (let d = 0; d < 20000; d++) {
      const i = [start - d, start + d].find(i => i >= 0 && i < lines.length && parts(i).host === hosts[lane].name);
      if (i !== undefined) { best = i; break; }
    }
    return { line: best, pair: -1, text: "" };
  }

  // The lines around what was chosen.

  const around = 250;
  function choose(line, pair, text) {
    chosen = { line, pair: pair === undefined ? -1 : pair };
    const p = parts(line);
    $("name").textContent = clock(at[line]) + (text ? " · " + text : " · " + readable(p.what).slice(0, 200));
    $("name").title = text || "";
    if (p.host !== "-") $("mineof").textContent = p.host;
    const was = $("panel").hidden;
    $("panel").hidden = false;
    if (was) resize();
    list();
    plan();
  }
  function list() {
    if (chosen.line < 0) return;
    const mine = $("mine").checked && $("mineof").textContent, all = $("all").checked;
    const wanted = i => {
      if (i === chosen.line || i === chosen.pair) return true;
      const p = parts(i);
      return (all || !routine(p)) && (!mine || p.host === mine || p.host === "-");
    };
    const before = [], after = [];
    for (let i = chosen.line - 1; i >= 0 && before.length < around; i--) if (wanted(i)) before.push(i);
    for (let i = chosen.line; i < lines.length && after.length <= around; i++) if (wanted(i)) after.push(i);
    const box = $("lines");
    box.replaceChildren(...before.reverse().concat(after).map(row));
    const here = box.querySelector(".here");
    if (here) box.scrollTop = here.offsetTop - box.offsetTop - box.clientHeight / 2 + 12;
  }
  function row(i) {
    const p = parts(i), div = document.createElement("div");
    div.className = "line " + look(p) + (i === chosen.line ? " here" : "") + (i === chosen.pair ? " pair" : "");
    div.title = "line " + (i + 1) + ": " + lines[i];
    div.dataset.line = i;
    for (const [name, text] of [["at", (at[i] / second).toFixed(6)], ["host", p.host], ["sign", p.sign], ["text", readable(p.what)]]) {
      const span = document.createElement("span");
      span.className = name;
      const found = name === "text" && query ? text.toLowerCase().indexOf(query) : -1;
      if (found < 0) span.textContent = text;
      else {
        const mark = document.createElement("mark");
        mark.textContent = text.slice(found, found + query.length);
        span.append(text.slice(0, found), mark, text.slice(found + query.length));
      }
      div.append(span);
    }
    return div;
  }
  $("lines").addEventListener("click", e => {
    const row = e.target.closest(".line");
    if (row && !String(getSelection())) { choose(+row.dataset.line); reveal(chosen.line); }
  });
  function step(by) {
    const mine = $("mine").checked && $("mineof").textContent, all = $("all").checked;
    for (let i = chosen.line + by; i >= 0 && i < lines.length; i += by) {
      const p = parts(i);
      if ((all || !routine(p)) && (!mine || p.host === mine || p.host === "-")) { choose(i); reveal(i); return; }
    }
  }
  function close() {
    $("keys").hidden = true;
    if ($("panel").hidden) return;
    $("panel").hidden = true;
    chosen = { line: -1, pair: -1 };
    resize();
  }
  $("close").addEventListener("click", close);
  for (const id of ["mine", "all"]) $(id).addEventListener("change", list);
  $("grip").addEventListener("pointerdown", e => {
    $("grip").setPointerCapture(e.pointerId);
    const move = e => { $("panel").style.height = Math.max(120, Math.min(innerHeight - 260, innerHeight - e.clientY)) + "px"; resize(); };
    $("grip").addEventListener("pointermove", move);
    $("grip").addEventListener("pointerup", () => $("grip").removeEventListener("pointermove", move), { once: true });
  });

  // Finding: words, identifiers, names of hosts and tasks.

  function find() {
    query = $("search").value.trim().toLowerCase();
    found = []; foundAt = -1;
    if (query) {
      const exact = Object.keys(names).filter(id => names[id].toLowerCase() === query);
      const words = exact.length ? exact : [query];
      if (hosts.some(h => h.name.toLowerCase() === query)) words.push(` ${query} `);
      if (!exact.length && query.length > 2) {
        for (const id in names) if (names[id].includes(".") && names[id].toLowerCase().includes(query)) words.push(id);
      }
      for (let i = 0; i < lines.length; i++) {
        const line = lines[i].toLowerCase();
        if (words.some(w => line.includes(w))) found.push(i);
      }
    }
    $("found").textContent = query ? found.length + (found.length === 1 ? " line" : " lines") : "";
    plan();
  }
  function go(by) {
    if (!found.length) return;
    const here = chosen.line >= 0 ? chosen.line : lineAt(Math.max(0, view.from)) - 1;
    if (foundAt < 0) {
      foundAt = by > 0 ? found.findIndex(i => i > here) : found.findLastIndex(i => i < here);
      if (foundAt < 0) foundAt = by > 0 ? 0 : found.length - 1;
    } else foundAt = (foundAt + by + found.length) % found.length;
    $("found").textContent = `${foundAt + 1} of ${found.length}`;
    choose(found[foundAt]);
    reveal(chosen.line);
  }
  $("search").addEventListener("input", find);
  $("search").addEventListener("keydown", e => {
    if (e.key === "Enter") { e.preventDefault(); go(e.shiftKey ? -1 : 1); }
    if (e.key === "Escape") { $("search").value = ""; find(); canvas.focus(); }
  });
  $("tools").addEventListener("submit", e => e.preventDefault());
  $("next").addEventListener("click", () => go(1));
  $("previous").addEventListener("click", () => go(-1));

  // Tools and keys.

  function dark(on) { document.documentElement.classList.toggle("dark", on); readColours(); plan(); }
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", e => dark(e.matches));
  $("theme").addEventListener("click", () => dark(!document.documentElement.classList.contains("dark")));
  $("in").addEventListener("click", () => zoom(.5));
  $("out").addEventListener("click", () => zoom(2));
  $("whole").addEventListener("click", () => show(whole.from, whole.to));
  $("help").addEventListener("click", () => $("keys").hidden = !$("keys").hidden);
  for (const id of ["messages", "routine", "commits"]) $(id).addEventListener("change", plan);
  function violation(line) {
    const wide = Math.min(view.to - view.from, Math.max(over / 8, second));
    show(at[line] - wide * .7, at[line] + wide * .3);
    choose(line);
    reveal(line);
  }
  for (const b of document.querySelectorAll(".violation")) b.addEventListener("click", () => violation(+b.dataset.line));
  const toggle = id => { $(id).checked = !$(id).checked; plan(); };
  const keys = {
    ArrowLeft: () => pan(-120), ArrowRight: () => pan(120), a: () => pan(-120), d: () => pan(120),
    ArrowUp: () => scroll(-60), ArrowDown: () => scroll(60), PageUp: () => scroll(-400), PageDown: () => scroll(400),
    "+": () => zoom(.7), "=": () => zoom(.7), w: () => zoom(.7), "-": () => zoom(1 / .7), s: () => zoom(1 / .7),
    0: () => show(whole.from, whole.to), Home: () => show(whole.from, whole.to),
    j: () => step(1), k: () => step(-1), n: () => go(1), N: () => go(-1),
    "/": () => $("search").focus(), m: () => toggle("messages"), h: () => toggle("routine"), c: () => toggle("commits"),
    v: () => drawing.violations.length && violation(drawing.violations[0]),
    "?": () => $("keys").hidden = !$("keys").hidden, Escape: close,
  };
  addEventListener("keydown", e => {
    if (e.target.matches("input[type=search]") || e.ctrlKey || e.metaKey || e.altKey || !keys[e.key]) return;
    e.preventDefault();
    keys[e.key]();
  });

  $("about").textContent = `${clock(over).replace(/\.?0+ s$/, " s")} of ${hosts.length} hosts, ${lines.length.toLocaleString("en")} lines`;
  new ResizeObserver(resize).observe(canvas);
  dark(system.matches);
  resize();
  const moment = /^#line=(\d+)$/.exec(location.hash);
  if (moment && +moment[1] >= 1 && +moment[1] <= lines.length) { choose(+moment[1] - 1); reveal(chosen.line); }
})().catch(e => { document.getElementById("about").textContent = "this page cannot be shown: " + e.message; throw e; });
