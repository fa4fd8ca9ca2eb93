/* Time runs left to right, so what overflows starts at its newest end. */
export default element => { element.scrollLeft = element.scrollWidth; };
