# How the project's own targets are compiled, and how a room is declared.
#
# SPDX-License-Identifier: Apache-2.0

# Contraction is off so that every compiler and instruction set rounds alike; fast-math is banned.
# Nobody looks at floating point exceptions, and only without them loops with choices vectorise.
add_library(lamina_flags INTERFACE)
target_compile_features(lamina_flags INTERFACE c_std_17)
target_compile_definitions(lamina_flags INTERFACE _POSIX_C_SOURCE=200809L)
target_compile_options(
    lamina_flags
    INTERFACE -ffp-contract=off -fno-math-errno -fno-trapping-math
              -fopenmp-simd
              -Wall
              -Wextra
              -Wpedantic
              -Wshadow
              -Wconversion
              -Wstrict-prototypes
              -Wmissing-prototypes
              -Wvla
              -Wundef
              -Wdouble-promotion
              -Wcast-qual
              -Wformat=2
              $<$<BOOL:${LAMINA_WARNINGS_AS_ERRORS}>:-Werror>
              # clang reports loops that it could not vectorise; that is advice, not a defect.
              $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>)
if(LAMINA_HAVE_SHARED)
    # Nobody replaces a function of the library, so calls inside it may be inlined as in a static one.
    target_compile_options(lamina_flags INTERFACE -fno-semantic-interposition)
endif()
if(LAMINA_SANITIZE)
    list(JOIN LAMINA_SANITIZE "," lamina_sanitizers)
    set(lamina_sanitize_flags -fsanitize=${lamina_sanitizers} -fno-sanitize-recover=all
                              -fno-omit-frame-pointer)
    target_compile_options(lamina_flags INTERFACE ${lamina_sanitize_flags})
    target_link_options(lamina_flags INTERFACE ${lamina_sanitize_flags})
endif()

# lamina_configure_target(target): the flags above, C17 without extensions, the public headers.
function(lamina_configure_target target)
    set_target_properties(${target} PROPERTIES C_EXTENSIONS OFF)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:lamina_flags>)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
endfunction()

# lamina_add_room(room [FOLDERS folder...] [LINK library...])
#
# Object library lamina_<room> from every C file of the calling folder and of FOLDERS below it, able
# to include what LINK gives. A room without sources is an empty interface.
function(lamina_add_room room)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FOLDERS;LINK")
    list(TRANSFORM arg_FOLDERS APPEND "/*.c" OUTPUT_VARIABLE patterns)
    list(TRANSFORM patterns PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c" ${patterns})
    if(NOT sources)
        add_library(lamina_${room} INTERFACE)
        return()
    endif()
    add_library(lamina_${room} OBJECT ${sources})
    lamina_configure_target(lamina_${room})
    set_target_properties(lamina_${room} PROPERTIES POSITION_INDEPENDENT_CODE ${LAMINA_HAVE_SHARED})
    target_include_directories(lamina_${room} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(lamina_${room} PRIVATE ${arg_LINK})
    set_property(GLOBAL APPEND PROPERTY LAMINA_ROOM_OBJECTS $<TARGET_OBJECTS:lamina_${room}>)
endfunction()

# lamina_use_threads(target): OpenMP in its sources, where there is OpenMP.
function(lamina_use_threads target)
    if(OpenMP_C_FOUND)
        target_compile_options(${target} PRIVATE ${OpenMP_C_FLAGS})
    endif()
endfunction()

# lamina_add_isa_variants(target [EXACT] source...)
#
# Compile each source once for every instruction set, with LMN__VARIANT set to its name: baseline
# everywhere, on x86-64 also avx2 and avx512. The source names what it defines after LMN__VARIANT;
# LMN__HAVE_X86_VARIANTS tells the code that chooses at run time what there is. With EXACT all
# variants compute the same bits; without, the kernels are products, whose bits may differ between
# instruction sets, so multiplications and additions may be fused.
function(lamina_add_isa_variants target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EXACT" "" "")
    set(sources ${arg_UNPARSED_ARGUMENTS})
    set(variants baseline)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        list(APPEND variants avx2 avx512)
        target_compile_definitions(${target} PRIVATE LMN__HAVE_X86_VARIANTS)
    endif()
    set(flags_baseline "")
    set(flags_avx2 -mavx2 -mfma)
    set(flags_avx512 -mavx512f -mfma -mprefer-vector-width=512)
    if(NOT arg_EXACT)
        # As a property of the sources, since these come last and win over the options of all code.
        set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)
    endif()
    foreach(variant IN LISTS variants)
        add_library(${target}_${variant} OBJECT ${sources})
        lamina_configure_target(${target}_${variant})
        set_target_properties(${target}_${variant} PROPERTIES POSITION_INDEPENDENT_CODE
                                                              ${LAMINA_HAVE_SHARED})
        target_compile_definitions(${target}_${variant} PRIVATE LMN__VARIANT=${variant})
        # -O3 also in debug builds: these loops are far too slow without registers.
        target_compile_options(${target}_${variant} PRIVATE -O3 ${flags_${variant}})
        set_property(GLOBAL APPEND PROPERTY LAMINA_ROOM_OBJECTS
                                            $<TARGET_OBJECTS:${target}_${variant}>)
    endforeach()
endfunction()
