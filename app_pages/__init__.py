"""The pages of the app: every folder with a module `page` is one, with TITLE, ICON and ORDER, drawn by its `main()`; `shared` is what they have in common."""
