/* A select that is its form's only question sends it when answered. */
export default select => select.addEventListener("change", () => select.form.requestSubmit());
