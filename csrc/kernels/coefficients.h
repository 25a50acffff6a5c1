/* Coefficients and constants of activations.inc, lowest power first, for float32 and float64.
 * Every table is the output of tools/minimax.py (Remez exchange, then rounding), which explains what each one fits.
 * Next: activations.inc. */
#ifndef LF_COEFFICIENTS_H
#define LF_COEFFICIENTS_H

#include <math.h> /* INFINITY and NAN; no function of it is called */
#include <stdint.h>

#define LF_CONSTANT static const __attribute__((unused))

/* ln 2 in two parts; the first is so short that n * ln2_high is exact, also without FMA. */
LF_CONSTANT float ln2_high_f32 = 0.693359375f, ln2_low_f32 = -2.12194440054690583e-4f;
LF_CONSTANT double ln2_high_f64 = 6.93145751953125e-1, ln2_low_f64 = 1.42860682030941723212e-6;
LF_CONSTANT float ln2_f32 = 0.693147182464599609f; /* 1.9e-9 too much */
LF_CONSTANT double ln2_f64 = 0.693147180559945286;
LF_CONSTANT float log2_e_f32 = 1.44269504088896341f;
LF_CONSTANT double log2_e_f64 = 1.44269504088896341;

/* round_magic + a has the nearest integer of a in its lowest bits; exponent_bias added makes them the exponent field
 * of 2^n; range_bias moves that field's range up or down, so that one multiplication can overflow or underflow. */
LF_CONSTANT float round_magic_f32 = 0x1.8p23f, exponent_bias_f32 = 127.0f, range_bias_f32 = 64.0f;
LF_CONSTANT double round_magic_f64 = 0x1.8p52, exponent_bias_f64 = 1023.0, range_bias_f64 = 512.0;
LF_CONSTANT float range_up_f32 = 0x1p64f, range_down_f32 = 0x1p-64f;
LF_CONSTANT double range_up_f64 = 0x1p512, range_down_f64 = 0x1p-512;

/* Of an octave, where powers of two are looked up. */
enum { LF_POWER_PARTS = 8 };

/* Arguments beyond which a function has reached its limit, or has over- or underflowed. */
LF_CONSTANT float exp_lowest_f32 = -104.0f, exp_highest_f32 = 89.0f;
LF_CONSTANT double exp_lowest_f64 = -746.0, exp_highest_f64 = 710.0;
LF_CONSTANT float expm1_lowest_f32 = -20.0f, tanh_highest_f32 = 10.0f, mish_highest_f32 = 20.0f;
LF_CONSTANT double expm1_lowest_f64 = -40.0, tanh_highest_f64 = 20.0, mish_highest_f64 = 40.0;
LF_CONSTANT float sigmoid_lowest_f32 = -130.0f, sigmoid_highest_f32 = 40.0f;
LF_CONSTANT double sigmoid_lowest_f64 = -1000.0, sigmoid_highest_f64 = 350.0;
LF_CONSTANT float erfc_highest_f32 = 14.75f; /* of x * sqrt(2), as gelu has it */
LF_CONSTANT double erfc_highest_f64 = 39.0;
LF_CONSTANT float erfcx_centre_f32 = 2.0f;
LF_CONSTANT double erfcx_centre_f64 = 4.0;

/* Times this, a number splits into two halves of its digits (Dekker 1971). */
LF_CONSTANT float splitter_f32 = 0x1p12f + 1.0f;
LF_CONSTANT double splitter_f64 = 0x1p27 + 1.0;

/* degree 4; largest relative error in the result 2^-25.9 */
LF_CONSTANT float expm1_coefficients_f32[] = {
    0x1p-1f, 0x1.5554bp-3f, 0x1.555488p-5f, 0x1.1227e8p-7f, 0x1.6d98bcp-10f,
};
/* 2^64 * exp(-r) */
LF_CONSTANT float sigmoid_coefficients_f32[] = {
    0x1p+64f, -0x1p+64f, 0x1p+63f, -0x1.5554bp+61f, 0x1.555488p+59f, -0x1.1227e8p+57f, 0x1.6d98bcp+54f,
};
/* -expm1(-2r) / r */
LF_CONSTANT float tanh_coefficients_f32[] = {
    0x1p+1f, -0x1p+1f, 0x1.5554bp+0f, -0x1.555488p-1f, 0x1.1227e8p-2f, -0x1.6d98bcp-4f,
};
/* degree 10; largest relative error in the result 2^-60.5 */
LF_CONSTANT double expm1_coefficients_f64[] = {
    0x1p-1,
    0x1.5555555555559p-3,
    0x1.555555555555ap-5,
    0x1.111111110f6c1p-7,
    0x1.6c16c16c14458p-10,
    0x1.a01a01afde90cp-13,
    0x1.a01a01b0b4dbbp-16,
    0x1.71ddf862d95a7p-19,
    0x1.27e4c5a548923p-22,
    0x1.af5ea650956a4p-26,
    0x1.1f955ce0fb7e3p-29,
};
/* 2^512 * exp(-r) */
LF_CONSTANT double sigmoid_coefficients_f64[] = {
    0x1p+512,
    -0x1p+512,
    0x1p+511,
    -0x1.5555555555559p+509,
    0x1.555555555555ap+507,
    -0x1.111111110f6c1p+505,
    0x1.6c16c16c14458p+502,
    -0x1.a01a01afde90cp+499,
    0x1.a01a01b0b4dbbp+496,
    -0x1.71ddf862d95a7p+493,
    0x1.27e4c5a548923p+490,
    -0x1.af5ea650956a4p+486,
    0x1.1f955ce0fb7e3p+483,
};
/* -expm1(-2r) / r */
LF_CONSTANT double tanh_coefficients_f64[] = {
    0x1p+1,
    -0x1p+1,
    0x1.5555555555559p+0,
    -0x1.555555555555ap-1,
    0x1.111111110f6c1p-2,
    -0x1.6c16c16c14458p-4,
    0x1.a01a01afde90cp-6,
    -0x1.a01a01b0b4dbbp-8,
    0x1.71ddf862d95a7p-10,
    -0x1.27e4c5a548923p-12,
    0x1.af5ea650956a4p-15,
    -0x1.1f955ce0fb7e3p-17,
};
/* degree 2; largest relative error in the result 2^-30.1 */
LF_CONSTANT float log_coefficients_f32[] = {
    0x1.55557ap-1f,
    0x1.995ebcp-2f,
    0x1.31e32p-2f,
};
/* degree 6; largest relative error in the result 2^-59.1 */
LF_CONSTANT double log_coefficients_f64[] = {
    0x1.5555555555592p-1, 0x1.999999997ffc5p-2, 0x1.24924941dcb4fp-2, 0x1.c71c5215233b9p-3,
    0x1.74663d3d4738cp-3, 0x1.39a1d65aab823p-3, 0x1.2f04ce93da314p-3,
};
/* degree 9; largest relative error in the result 2^-24.6 */
LF_CONSTANT float erfcx_coefficients_f32[] = {
    0x1.46e80ep+0f,  -0x1.7bf61ap-4f, -0x1.54085cp-3f, 0x1.4ffc6ap-3f,  -0x1.bc0722p-5f,
    -0x1.08239ep-7f, 0x1.1aa2b8p-7f,  0x1.5814e6p-10f, -0x1.406ddp-10f, -0x1.9f588ap-12f,
};
/* degree 22; largest relative error in the result 2^-53.9 */
LF_CONSTANT double erfcx_coefficients_f64[] = {
    0x1.3ba5916e9fd7fp+0,   -0x1.1df1ad154a29cp-3,  0x1.f7f5df66fd71ep-7,   0x1.16ecefcfa6043p-4,
    -0x1.9ddb23c3e8a4dp-4,  0x1.7fee004df6ac7p-4,   -0x1.0fb06dfe58cbap-4,  0x1.3079edf9f9a22p-5,
    -0x1.09623880776cep-6,  0x1.49c67191ab211p-8,   -0x1.8d4a9feedf906p-11, -0x1.a1de83d0ea04cp-13,
    0x1.3be0d2db55b76p-13,  -0x1.9969d5eb64dfbp-16, -0x1.78a872266fa56p-17, 0x1.7fae62a1f95cp-18,
    0x1.443913125c647p-22,  -0x1.bfe126f495407p-21, 0x1.0bf5c64b9058ep-24,  0x1.ec09b8d8dfb0fp-24,
    -0x1.0b483bf43fc7bp-27, -0x1.cbf39cee70cafp-27, -0x1.d824d2e708712p-30,
};
/* degree 6; largest relative error in the result 2^-23.8 */
LF_CONSTANT float erf_coefficients_f32[] = {
    0x1.20dd74p+0f, -0x1.81273ep-2f, 0x1.ce2cf8p-4f, -0x1.b7f90cp-6f, 0x1.5405bp-8f, -0x1.a3f6fp-11f, 0x1.496a02p-14f,
};
/* degree 12; largest relative error in the result 2^-54.7 */
LF_CONSTANT double erf_coefficients_f64[] = {
    0x1.20dd750429b6dp+0,  -0x1.812746b0379e6p-2,  0x1.ce2f21a042b2p-4,   -0x1.b82ce3128499cp-6,
    0x1.565bcd0db02c7p-8,  -0x1.c02db3d8ecdbep-11, 0x1.f9a321a116d34p-14, -0x1.f4d1df38db4aep-17,
    0x1.b9def1995c1e6p-20, -0x1.5f1d36a3432d6p-23, 0x1.f7a4112daf135p-27, -0x1.386abe81bc097p-30,
    0x1.0579a69d4bb26p-34,
};
/* 2^64 * exp(-r) within a part of an octave; largest relative error 2^-25.2 */
LF_CONSTANT float sigmoid_part_coefficients_f32[] = {
    0x1p+64f,
    -0x1p+64f,
    0x1.00087ep+63f,
    -0x1.5560fep+61f,
};
/* The bits of their powers' fractions, less k in the highest. */
LF_CONSTANT uint32_t sigmoid_fractions_f32[] = {
    0x0, 0xfffb95c2, 0xfff837f0, 0xfff5fed7, 0xfff504f3, 0xfff5672a, 0xfff744fd, 0xfffac0c7,
};
/* -expm1(-2r) / r within a part; largest relative error 2^-27.1 */
LF_CONSTANT float tanh_part_coefficients_f32[] = {
    0x1p+1f,
    -0x1p+1f,
    0x1.555d14p+0f,
    -0x1.555e36p-1f,
};
/* The bits of their powers' fractions, less k in the highest. */
LF_CONSTANT uint32_t tanh_fractions_f32[] = {
    0x0, 0xfffc0000, 0xfff80000, 0xfff60000, 0xfff50000, 0xfff50000, 0xfff70000, 0xfffb0000,
};
/* What r changes by, for their powers have few digits. */
LF_CONSTANT float tanh_shifts_f32[] = {
    0x0p+0f,         0x1.851f18p-10f,  -0x1.789472p-11f, 0x1.ca8cep-17f,
    -0x1.c00c4p-15f, -0x1.0bd942p-10f, -0x1.485dfcp-11f, 0x1.13a2c6p-11f,
};
/* 2^512 * exp(-r) within a part of an octave; largest relative error 2^-58.3 */
LF_CONSTANT double sigmoid_part_coefficients_f64[] = {
    0x1p+512,
    -0x1p+512,
    0x1.000000000010fp+511,
    -0x1.55555555556e2p+509,
    0x1.55555547f56d7p+507,
    -0x1.1111110666f54p+505,
    0x1.6c1cc1d4c8e3fp+502,
    -0x1.a020c8b43ed48p+499,
};
/* The bits of their powers' fractions, less k in the highest. */
LF_CONSTANT uint64_t sigmoid_fractions_f64[] = {
    0x0,
    0xffff72b83c7d517b,
    0xffff06fe0a31b715,
    0xfffebfdad5362a27,
    0xfffea09e667f3bcd,
    0xfffeace5422aa0db,
    0xfffee89f995ad3ad,
    0xffff5818dcfba487,
};
/* -expm1(-2r) / r within a part; largest relative error 2^-60.6 */
LF_CONSTANT double tanh_part_coefficients_f64[] = {
    0x1p+1,
    -0x1p+1,
    0x1.5555555555606p+0,
    -0x1.555555555563dp-1,
    0x1.1111110960289p-2,
    -0x1.6c16c1610c10fp-4,
    0x1.a020145529719p-6,
    -0x1.a0202e6e795e2p-8,
};
/* The bits of their powers' fractions, less k in the highest. */
LF_CONSTANT uint64_t tanh_fractions_f64[] = {
    0x0,
    0xffff800000000000,
    0xffff000000000000,
    0xfffec00000000000,
    0xfffea00000000000,
    0xfffea00000000000,
    0xfffee00000000000,
    0xffff600000000000,
};
/* What r changes by, for their powers have few digits. */
LF_CONSTANT double tanh_shifts_f64[] = {
    0x0p+0,
    0x1.851f17d662b8dp-10,
    -0x1.7894729530db7p-11,
    0x1.ca8cdf95bfdd6p-17,
    -0x1.c00c40725a061p-15,
    -0x1.0bd9412dbb7d5p-10,
    -0x1.485dfc8eca55ep-11,
    0x1.13a2c58aa08eep-11,
};

#endif
