"use strict";
// The page reads without this. It opens the block that a link points to, shows what a filter keeps,
// and opens everything for the printer.
var form = document.querySelector(".filters");
var kept = "#?";

function reveal() {
  var name = decodeURIComponent(location.hash.slice(1));
  if (location.hash.indexOf(kept) === 0) { restore(name.slice(1)); return; }
  var target = name && document.getElementById(name);
  if (!target) return;
  // A link to something that a filter hides shows it again.
  if (target.closest("[hidden]") && form) { form.reset(); filter(); }
  for (var box = target; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
  }
  target.scrollIntoView();
  var summary = target.querySelector("summary");
  if (summary && target.tagName === "DETAILS") summary.focus({ preventScroll: true });
}

function each(selector, act) { Array.prototype.forEach.call(document.querySelectorAll(selector), act); }
function field(name) { var found = form.elements[name]; return found ? found.value : ""; }

// What each claim's text and cells are, read once from its card.
var claims = [];
each("details.claim", function (card, place) {
  var cells = card.querySelectorAll("details[data-state]");
  claims.push({
    card: card, place: place, study: card.dataset.study, id: card.dataset.claim,
    row: document.querySelector('tr[data-for="' + card.id + '"]'),
    text: (card.querySelector("summary").textContent + " " + card.dataset.claim).toLowerCase(),
    cells: Array.prototype.map.call(cells, function (box) {
      return { id: box.id, state: box.dataset.state, reading: box.dataset.reading || "",
               model: box.dataset.model, moved: box.dataset.moved ? "1" : "", size: +box.dataset.size || 0 };
    })
  });
});

function filter() {
  var words = field("q").toLowerCase().split(/\s+/).filter(Boolean);
  var moved = form.elements.moved.checked;
  var shown = 0, marks = {};
  claims.forEach(function (claim) {
    var cells = claim.cells.filter(function (cell) {
      return ["state", "reading", "model"].every(function (name) {
        return !field(name) || field(name) === cell[name];
      }) && (!moved || cell.moved) && words.every(function (word) {
        return claim.text.indexOf(word) >= 0 || cell.model.toLowerCase().indexOf(word) >= 0;
      });
    });
    var keep = cells.length > 0 && (!field("study") || field("study") === claim.study);
    claim.card.hidden = !keep;
    if (claim.row) claim.row.hidden = !keep;
    if (keep) { shown += 1; cells.forEach(function (cell) { marks[cell.id] = true; }); }
  });
  each(".dots a", function (mark) { mark.classList.toggle("off", !marks[mark.hash.slice(1)]); });
  // What a filter keeps is shown, and folded again when nothing is filtered.
  var asked = words.length || moved || ["study", "state", "reading", "model"].some(field);
  each("section.study", function (section) {
    var box = section.querySelector("details");
    section.hidden = !section.querySelector("details.claim:not([hidden])") && asked;
    if (asked && !section.hidden && !box.open) { box.open = true; box.dataset.filtered = "1"; }
    if (!asked && box.dataset.filtered) { box.open = false; delete box.dataset.filtered; }
  });
  form.querySelector("output").value = shown + " of " + claims.length + " claims";
}

var ranks = ["error", "refuted", "inconclusive", "undecided", "confirmed"];
function sort() {
  var order = field("order");
  function key(claim) {
    if (order === "state") return Math.min.apply(null, claim.cells.map(function (c) { return ranks.indexOf(c.state); }));
    if (order === "size") return -Math.max.apply(null, claim.cells.map(function (c) { return c.size; }));
    return order === "id" ? claim.id : claim.place;
  }
  claims.slice().sort(function (a, b) {
    var first = key(a), second = key(b);
    return first < second ? -1 : first > second ? 1 : a.place - b.place;
  }).forEach(function (claim) {
    claim.card.parentElement.appendChild(claim.card);
    if (claim.row) claim.row.parentElement.appendChild(claim.row);
  });
}

function restore(state) {
  new URLSearchParams(state).forEach(function (value, name) {
    var found = form.elements[name];
    if (found && found.type === "checkbox") found.checked = true;
    else if (found) found.value = value;
  });
  sort(); filter();
}

function keep() {
  var state = new URLSearchParams();
  new FormData(form).forEach(function (value, name) { if (value) state.set(name, value); });
  // A filter can be shared as a link, like any claim.
  location.replace(state.toString() ? kept + state : "#overview");
}

if (form) {
  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("input", filter);
  form.addEventListener("change", function () { sort(); filter(); keep(); });
  form.elements.all.addEventListener("click", function () {
    var open = this.getAttribute("aria-pressed") !== "true";
    this.setAttribute("aria-pressed", open);
    this.textContent = open ? "Fold every study" : "Open every study";
    each("section.study > details", function (box) { box.open = open; });
  });
  form.addEventListener("reset", function () { setTimeout(function () { sort(); filter(); keep(); }); });
  filter();
}
addEventListener("keydown", function (event) {
  var typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && form) { event.preventDefault(); form.elements.q.focus(); }
});
var opened = [];
addEventListener("beforeprint", function () {
  each("details:not([open])", function (box) { opened.push(box); box.open = true; });
});
addEventListener("afterprint", function () {
  opened.forEach(function (box) { box.open = false; });
  opened = [];
});
addEventListener("hashchange", reveal);
if (location.hash) reveal();
