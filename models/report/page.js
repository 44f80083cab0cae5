"use strict";

const byId = (id) => document.getElementById(id);
const faces = JSON.parse(byId("face-numbers").textContent);
const page = JSON.parse(byId("page-numbers").textContent);
const contents = (index) => JSON.parse(byId(`face-${index}`).textContent);   // pictures, landmarks and mesh of a face

// Cards. They are filled when they come near the window and emptied when they leave it, so that thousands of faces
// take no more memory than a few.

function fill(card) {
  const index = Number(card.dataset.index), face = faces[index], {photo, render, given, predicted} = contents(index);
  card.append(byId("card").content.cloneNode(true));
  for (const image of card.querySelectorAll("img")) {
    image.src = image.className === "render" ? render : photo;
  }
  const wipe = card.querySelector(".wipe");
  wipe.querySelector("input").addEventListener("input", (event) => {
    wipe.style.setProperty("--at", `${event.target.value}%`);
  });
  const drawing = card.querySelector("svg");
  for (const [kind, points] of [["given", given], ["predicted", predicted]]) {
    for (const [x, y] of points) {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of Object.entries({cx: x + 0.5, cy: y + 0.5, r: 1.7, class: kind})) {
        dot.setAttribute(name, value);
      }
      drawing.append(dot);
    }
  }
  card.querySelector("h2").textContent = face.name;
  const list = card.querySelector("dl");
  for (const [name, value, meaning] of numbers(face)) {
    const term = document.createElement("dt"), description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    term.title = description.title = meaning;
    list.append(term, description);
  }
  card.querySelector(".remarks").textContent = face.remarks;
  card.querySelector(".turn").addEventListener("click", () => openView(index));
}

function numbers(face) {
  const side = (value, more, less) => `${Math.abs(value).toFixed(0)}° ${value < 0 ? less : more}`;
  return [
    ["Colour difference", face.color === null ? "–" : face.color.toFixed(3),
      "Mean distance of the colours of face and photo over the face, RGB from 0 to 1"],
    ["Landmark distance", face.landmarks === null ? "–" : `${face.landmarks.toFixed(1)} px`,
      `Mean distance of the ${face.points} landmarks in the photo from those of the face, px of these pictures`],
    ["Looks", `${side(face.yaw, "right", "left")}, ${side(face.pitch, "down", "up")}`,
      "Rotation of the head: to the right or left of the picture, and up or down"],
    ["Leans", side(face.roll, "anticlockwise", "clockwise"), "Rotation of the head in the plane of the picture"],
    ["Size in the photo", `${face.size.toFixed(0)} px`, "Side of the square of the photo that these pictures show"],
  ];
}

const observer = new IntersectionObserver((entries) => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting && !target.firstChild) {
      fill(target);
    } else if (!isIntersecting) {
      target.replaceChildren();
    }
  }
}, {rootMargin: "800px"});

const cards = faces.map((_, index) => {
  const card = document.createElement("article");
  card.dataset.index = index;
  observer.observe(card);
  return card;
});

// Sorting and filtering

const inOrder = new Intl.Collator(undefined, {numeric: true});
const orders = {
  name: (a, b) => inOrder.compare(a.name, b.name),
  color: (a, b) => b.color - a.color,
  landmarks: (a, b) => b.landmarks - a.landmarks,
  turn: (a, b) => Math.hypot(b.yaw, b.pitch) - Math.hypot(a.yaw, a.pitch),
  size: (a, b) => a.size - b.size,
};

function update() {
  const text = byId("text").value.toLowerCase(), withRemarks = byId("kind").value === "remarks";
  const shown = faces.map((_, index) => index).filter((index) =>
    faces[index].name.toLowerCase().includes(text) && (faces[index].remarks || !withRemarks));
  shown.sort((a, b) => orders[byId("order").value](faces[a], faces[b]) || orders.name(faces[a], faces[b]));
  byId("faces").replaceChildren(...shown.map((index) => cards[index]));
  if (!shown.length) {
    const line = document.createElement("p");
    line.className = "none";
    line.textContent = faces.length ? "No face fits the choice above." : "No face was reconstructed.";
    byId("faces").append(line);
  }
  byId("count").textContent = `${shown.length} of ${faces.length} faces`;
  for (const row of byId("left-out").querySelectorAll("tbody tr")) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
  }
}

byId("controls").addEventListener("input", update);
byId("controls").addEventListener("submit", (event) => event.preventDefault());

// What the page is about, and what was left out

byId("about").textContent = page.about;
document.title = `3D faces: ${page.title}`;
byId("left-out").hidden = !page.left_out.length;
byId("left-out").open = page.left_out.length <= 10;
byId("left-out").querySelector("summary").textContent = `Left out: ${page.left_out.length}`;
byId("left-out").querySelector("tbody").append(...page.left_out.map(([photo, reason]) => {
  const row = document.createElement("tr");
  row.insertCell().textContent = photo;
  row.insertCell().textContent = reason;
  return row;
}));
update();

// The face in 3D

let view = null;

async function openView(index) {
  const {photo, mesh} = contents(index), dialog = byId("view");
  dialog.querySelector("h2").textContent = faces[index].name;
  dialog.showModal();
  try {
    view ??= new MeshView(dialog.querySelector("canvas"), page);
  } catch (error) {
    dialog.querySelector("p").textContent = `The face cannot be shown in 3D: ${error.message}.`;
    return;
  }
  const texture = new Image();
  texture.src = photo;
  await Promise.all([texture.decode(), view.load(mesh)]);
  view.setTexture(texture);
  view.reset();
}

byId("view").addEventListener("input", (event) => view?.setSurface(Number(event.target.value)));
byId("straight").addEventListener("click", () => view?.reset());
